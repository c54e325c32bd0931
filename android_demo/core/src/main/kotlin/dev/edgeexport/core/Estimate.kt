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

/**
 * What [request] will take of memory with the bundle's own programs: growth over a process that has opened nothing, at
 * the worst moment of the generation. Plain arithmetic on what the manifest says.
 *
 * @param overhead what the engine takes for itself ([Engine.overhead]).
 * @param keepLoaded all programs stay; else each is let go before the next is loaded.
 */
public fun Manifest.estimate(request: Request, overhead: Estimate, keepLoaded: Boolean): Estimate {
    val latentBytes = elementsOf(generation.latent.shape, MAX_ELEMENTS) * SAMPLE_BYTES
    val audioBytes = samplesIn(request.seconds, generation.audio.sampleRate) * generation.audio.channels * SAMPLE_BYTES
    val moments = ArrayList<Estimate>()
    var stay = overhead
    for (role in programs.keys) {
        val audio = if (role == programs.keys.last()) audioBytes else 0
        val own = latentBytes * LATENTS_KEPT + outputBytes(role) + audio
        moments += stay + whileLoaded(role)
        moments += stay + whileRun(role) + Estimate(0, own)
        if (keepLoaded) stay += whileRun(role)
    }
    // The windows' sound and the whole that it is joined to.
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

/** All of the file is read, and its weights are packed beside it, or into a file that nothing has read yet. */
private fun Manifest.whileLoaded(role: String): Estimate {
    val program = programs.getValue(role)
    return Estimate(program.bytes, if (isPackedMapped(role)) 0 else program.memory.packedBytes)
}

/** Of the file remains what was not packed, such as tables of embeddings: about as much as it is larger. */
private fun Manifest.whileRun(role: String): Estimate {
    val program = programs.getValue(role)
    val (packed, working) = program.memory
    val unpacked = maxOf(0, program.bytes - packed)
    return if (isPackedMapped(role)) Estimate(unpacked + packed, working) else Estimate(unpacked, packed + working)
}

/** Packed weights are kept in a file and mapped, as LiteRT's are unless it computes in float16. */
private fun Manifest.isPackedMapped(role: String) = backend == "litert" && role !in recipe.float16

private fun Manifest.outputBytes(role: String): Long =
    generation.programs.getValue(role).outputs.sumOf { byteCount(it.dtype, it.shape) }
