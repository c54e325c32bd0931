package dev.edgeexport.core

internal const val MAX_STEPS = 1000
private const val MOST_LOGSNR = 100.0

/** The network: latent and sigma to velocity, of the latent's size. */
internal typealias Velocity = (latent: FloatArray, sigma: Float) -> FloatArray

/** One step: the latent that entered it at [sigma], the velocity there, and the clean latent it points to. */
internal class Step(
    val index: Int,
    val sigma: Float,
    val latent: FloatArray,
    val velocity: FloatArray,
    val clean: FloatArray,
)

/** Steps from `latent` along `schedule`; `noise` is drawn from once wherever a sampler noises anew. */
internal typealias Steps = (
    velocity: Velocity,
    latent: FloatArray,
    noise: () -> FloatArray,
    schedule: FloatArray,
) -> Sequence<Step>

/** An entry of [SAMPLERS]. defaults: its parameters by name, with the published values. */
internal class Sampler(
    private val defaults: Map<String, Double>,
    private val grid: (steps: Int, parameters: Map<String, Double>) -> FloatArray,
    val steps: Steps,
) {
    /** There is one more than [steps], falling from 1 to 0; [UsageException] for steps out of range. */
    fun sigmas(steps: Int, parameters: Map<String, Double> = defaults): FloatArray = grid(steps, parameters)

    /** What is wrong with [parameters], in a few words. */
    fun problem(parameters: Map<String, Double>): String? {
        if (parameters.keys != defaults.keys) {
            val found = parameters.keys.joinToString().ifEmpty { "none" }
            return "are $found, expected ${defaults.keys.joinToString()}"
        }
        return try {
            sigmas(1, parameters)
            null
        } catch (error: FormatException) {
            error.message
        }
    }
}

/** From a start to a clean latent in a few steps; to add a sampler, add an entry. */
internal val SAMPLERS: Map<String, Sampler> = mapOf(
    "pingpong" to Sampler(mapOf("logsnr_low" to -6.0, "logsnr_high" to 2.0), ::logsnrGrid, ::pingpong),
)

/** sigmoid(-logSNR) over equal steps of logSNR, the first set to 1, the last to 0. */
private fun logsnrGrid(steps: Int, parameters: Map<String, Double>): FloatArray {
    val low = parameters.getValue("logsnr_low")
    val high = parameters.getValue("logsnr_high")
    if (steps !in 1..MAX_STEPS) throw UsageException("steps is $steps, expected 1 to $MAX_STEPS")
    if (!(-MOST_LOGSNR <= low && low < high && high <= MOST_LOGSNR)) {
        val bound = brief(MOST_LOGSNR)
        throw FormatException("must have logsnr_low below logsnr_high, both within -$bound..$bound")
    }
    val made = FloatArray(steps + 1) { index ->
        val logsnr = low + index * ((high - low) / steps)
        (1 / (1 + StrictMath.exp(logsnr))).toFloat()
    }
    made[0] = 1f
    made[steps] = 0f
    return made
}

/**
 * clean = latent - sigma velocity; latent = (1 - next) clean + next noise (arXiv 2505.08175, section 3.4), in float32.
 *
 * Noise is drawn after each step but the last, whose noise would be times zero, and only when the next step is asked
 * for.
 */
private fun pingpong(
    velocity: Velocity,
    latent: FloatArray,
    noise: () -> FloatArray,
    schedule: FloatArray,
): Sequence<Step> = sequence {
    var entering = latent
    for (index in 0 until schedule.size - 1) {
        val sigma = schedule[index]
        val next = schedule[index + 1]
        val moving = velocity(entering, sigma)
        refuseUnsound(moving, index)
        val clean = FloatArray(entering.size) { entering[it] - sigma * moving[it] }
        yield(Step(index, sigma, entering, moving, clean))
        if (next > 0) {
            val drawn = noise()
            entering = FloatArray(clean.size) { (1 - next) * clean[it] + next * drawn[it] }
        }
    }
}

/** [GenerationException] where a step's velocity is NaN or infinite; steps are counted from 1. */
internal fun refuseUnsound(velocity: FloatArray, index: Int) {
    if (!velocity.allFinite()) {
        throw GenerationException("the dit returned NaN or infinity in step ${index + 1}; run `edge-export verify`")
    }
}
