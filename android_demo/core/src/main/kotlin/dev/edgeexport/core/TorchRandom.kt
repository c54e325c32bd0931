package dev.edgeexport.core

/** The largest seed: PyTorch's generator keeps 32 bits, and two seeds must not give one sound. */
public const val MAX_SEED: Long = 0xFFFFFFFFL

/**
 * Noise from a seed, equal to PyTorch's on a CPU: what `torch.manual_seed(seed)` sets up, and its `torch.randn`.
 *
 * MT19937 (Matsumoto and Nishimura 1998) seeded with 32 bits by init_genrand; draws continue where the last one
 * stopped. The transforms are those of PyTorch's ATen/native/cpu/DistributionTemplates.h (normal_fill) and
 * ATen/core/DistributionsHelper.h (normal_distribution).
 *
 * @throws UsageException a seed outside 0..[MAX_SEED].
 */
internal class TorchRandom(seed: Long) {
    private val twister: MersenneTwister
    private var spare = Double.NaN

    init {
        if (seed !in 0..MAX_SEED) throw UsageException("seed is $seed, expected 0 to $MAX_SEED${sameSound(seed)}")
        twister = MersenneTwister(seed.toInt())
    }

    /** [count] standard normal numbers: what `torch.randn` gives for any shape of so many, to about 1e-6. */
    fun randn(count: Int): FloatArray = if (count >= BLOCK) blocks(count) else FloatArray(count) { single().toFloat() }

    /** Uniforms for all, transformed in blocks; of a count that 16 does not divide, the last 16 are drawn afresh. */
    private fun blocks(count: Int): FloatArray {
        val values = FloatArray(count) { uniform() }
        for (start in 0..count - BLOCK step BLOCK) boxMuller(values, start)
        if (count % BLOCK != 0) {
            for (place in count - BLOCK until count) values[place] = uniform()
            boxMuller(values, count - BLOCK)
        }
        return values
    }

    /** In [0, 1): the low 24 bits of a draw over 2^24. */
    private fun uniform(): Float = (twister.next() and 0xFFFFFF) * UNIT_24

    /**
     * Box and Muller (1958) on a block of 16: the first 8 give the radius sqrt(-2 ln(1 - u)), the last 8 the angle
     * 2 pi u'; the block becomes 8 radius cos(angle), 8 radius sin(angle).
     *
     * Logarithm, sine and cosine are taken in double precision and rounded to float32 once, where every mathematical
     * library agrees: in float32 they differ in the last bit, and an int8 network makes another sound of that.
     */
    private fun boxMuller(values: FloatArray, start: Int) {
        for (place in start until start + BLOCK / 2) {
            val radius = StrictMath.sqrt(-2 * StrictMath.log((1f - values[place]).toDouble())).toFloat()
            val angle = (TURN * values[place + BLOCK / 2]).toDouble()
            values[place] = radius * StrictMath.cos(angle).toFloat()
            values[place + BLOCK / 2] = radius * StrictMath.sin(angle).toFloat()
        }
    }

    /** One by one in double precision, the second of each pair kept for later, also through draws of 16 and more. */
    private fun single(): Double {
        if (!spare.isNaN()) return spare.also { spare = Double.NaN }
        val angle = 2 * Math.PI * uniformDouble()
        val radius = StrictMath.sqrt(-2 * StrictMath.log1p(-uniformDouble()))
        spare = radius * StrictMath.sin(angle)
        return radius * StrictMath.cos(angle)
    }

    /** In [0, 1): the low 53 bits of two draws, the first of them high, over 2^53. */
    private fun uniformDouble(): Double {
        val high = twister.next().toLong() shl Int.SIZE_BITS
        val low = twister.next().toLong() and MAX_SEED
        return ((high or low) and MASK_53) * UNIT_53
    }

    private companion object {
        const val BLOCK = 16
        const val TURN = (2 * Math.PI).toFloat()
        const val UNIT_24 = 1f / (1 shl 24)
        const val UNIT_53 = 1.0 / (1L shl 53)
        const val MASK_53 = (1L shl 53) - 1

        /** The seed that torch makes of one beyond 32 bits: the low ones of a number of 64 bits. */
        fun sameSound(seed: Long): String {
            val drawn = if (seed ==
                -1L
            ) {
                "; where -1 is to draw one, as in stable-audio-tools, say --seed random"
            } else {
                ""
            }
            return "; torch.manual_seed takes it as ${seed and MAX_SEED}, which gives the same sound$drawn"
        }
    }
}

/** MT19937, seeded by init_genrand. */
private class MersenneTwister(seed: Int) {
    private val state = IntArray(LENGTH)
    private var place = LENGTH

    init {
        state[0] = seed
        for (index in 1 until LENGTH) {
            val before = state[index - 1]
            state[index] = 1812433253 * (before xor (before ushr 30)) + index
        }
    }

    fun next(): Int {
        if (place == LENGTH) twist()
        var word = state[place++]
        word = word xor (word ushr 11)
        word = word xor ((word shl 7) and TEMPER_B)
        word = word xor ((word shl 15) and TEMPER_C)
        return word xor (word ushr 18)
    }

    private fun twist() {
        for (index in 0 until LENGTH) {
            val word = (state[index] and Int.MIN_VALUE) or (state[(index + 1) % LENGTH] and Int.MAX_VALUE)
            val odd = if (word and 1 == 1) MATRIX else 0
            state[index] = state[(index + AHEAD) % LENGTH] xor (word ushr 1) xor odd
        }
        place = 0
    }

    private companion object {
        const val LENGTH = 624
        const val AHEAD = 397
        const val MATRIX = 0x9908B0DF.toInt()
        const val TEMPER_B = 0x9D2C5680.toInt()
        const val TEMPER_C = 0xEFC60000.toInt()
    }
}
