package dev.edgeexport.core

private const val SAMPLE_BYTES = 4
private const val MEGA = 1e6

/** Noise, latent, velocity and clean of one step. */
private const val LATENTS_KEPT = 4

/** Bytes in memory. [mappedBytes]: pages of files, which the system can take back. [privateBytes]: all else. */
public data class Estimate(val mappedBytes: Long, val privateBytes: Long) {
    /** Both. */
    public val totalBytes: Long get() = mappedBytes + privateBytes

    internal operator fun plus(other: Estimate) =
        Estimate(mappedBytes + other.mappedBytes, privateBytes + other.privateBytes)
}

/** How a runtime packs a program's weights for the CPU. */
internal enum class Packed {
    /** For each operation that uses them, as a runtime without a cache does. */
    EACH,

    /** Equal ones once. */
    ONCE,

    /** They are kept in a file and mapped. */
    MAPPED,
}

/**
 * What [request] will take of memory with the bundle's own programs: growth over a process that has opened nothing, at
 * the worst moment of the generation. Plain arithmetic on what the manifest says.
 *
 * @param overhead what the engine takes for itself ([Engine.overhead]).
 * @param packed how ExecuTorch packs weights; those of LiteRT are mapped, unless it computes in float16.
 * @param keepLoaded all programs stay; else those of a stage are let go before the next is loaded.
 */
internal fun Manifest.estimate(
    request: Request,
    overhead: Estimate,
    keepLoaded: Boolean,
    packed: Packed = Packed.EACH,
): Estimate {
    val latentBytes = elementsOf(generation.latent.shape, MAX_ELEMENTS) * SAMPLE_BYTES
    val audioBytes = samplesIn(request.seconds, generation.audio.sampleRate) * generation.audio.channels * SAMPLE_BYTES
    val moments = ArrayList<Estimate>()
    var stay = overhead
    for ((stage, roles) in STAGES) {
        var held = stay
        var own = latentBytes * LATENTS_KEPT + if (stage == STAGES.keys.last()) audioBytes else 0
        for (role in roles.filter { it in programs }) {
            own += outputBytes(role)
            moments += held + whileLoaded(role, packed)
            held += whileRun(role, packed)
            moments += held + Estimate(0, own)
        }
        if (keepLoaded) stay = held
    }
    // The pieces' sound and the whole that it is joined to.
    moments += stay + Estimate(0, 2 * audioBytes)
    return moments.maxByOrNull { it.totalBytes }!!
}

/**
 * Refuse in one line where less memory is free than [needed].
 *
 * @throws GenerationException less is free.
 */
internal fun refuseLittleMemory(needed: Estimate, available: Long?) {
    if (available != null && available < needed.totalBytes) {
        throw GenerationException(
            "this needs ${fixed(
                needed.totalBytes / MEGA,
                0,
            )} MB of memory, ${fixed(available / MEGA, 0)} MB are free; " +
                "close other programs, ask for fewer seconds, or go on all the same by force (--force)",
        )
    }
}

/** All of the file is read, and its weights are packed beside it, or lie in a file that nothing has read yet. */
private fun Manifest.whileLoaded(role: String, packed: Packed): Estimate =
    Estimate(programs.getValue(role).bytes, weightsOf(role, packed).privateBytes)

/** Of the file remains what was not packed, such as tables of embeddings: about as much as it is larger. */
private fun Manifest.whileRun(role: String, packed: Packed): Estimate {
    val program = programs.getValue(role)
    val unpacked = maxOf(0, program.bytes - program.memory.packedBytes)
    return weightsOf(role, packed) + Estimate(unpacked, program.memory.workingBytes)
}

/** Of packed weights. */
private fun Manifest.weightsOf(role: String, packed: Packed): Estimate {
    val memory = programs.getValue(role).memory
    val wanted = if (backend == "litert") Packed.MAPPED else packed
    return when (if (memory.keptBytes == 0L) Packed.EACH else wanted) {
        Packed.MAPPED -> Estimate(memory.keptBytes, 0)
        Packed.ONCE -> Estimate(0, memory.keptBytes)
        Packed.EACH -> Estimate(0, memory.packedBytes)
    }
}

private fun Manifest.outputBytes(role: String): Long =
    generation.programs.getValue(role).outputs.sumOf { byteCount(it.dtype, it.shape) }
