package dev.edgeexport.core

import kotlinx.coroutines.flow.Flow
import kotlinx.coroutines.flow.FlowCollector
import kotlinx.coroutines.flow.flow

/**
 * A piece of work is done: step [index] of [count] of [stage], which took [load] + [run] seconds.
 *
 * @property stage "conditioner", "dit" or "decoder".
 * @property tensors what the conditioner made; the dit's "latent", "velocity" and "clean"; the decoder's "audio", the
 *   next samples as [channels, samples].
 */
public class Event(
    public val stage: String,
    public val index: Int,
    public val count: Int,
    public val load: Double,
    public val run: Double,
    public val tensors: Tensors,
) {
    override fun toString(): String = "$stage $index of $count"
}

/** Seconds that a stage took: loading its program, and each run of it. */
public data class StageTime(val load: Double, val runs: List<Double>) {
    /** All of them. */
    public val total: Double get() = load + runs.sum()
}

/** The prompt as ids and mask; [UsageException] when nothing of it is left after normalisation. */
internal fun Tokenizer.encodePrompt(request: Request, spec: GenerationSpec): Prompt {
    val prompt = encodePrompt(request.prompt, spec.conditioning.tokens)
    if (prompt.tokens <= 1) { // only </s>
        throw UsageException("the prompt holds only spaces and control characters; say what to play in words")
    }
    return prompt
}

/**
 * The loop: conditioner, dit steps, windows of the decoder; an event after each piece of work. Progress, cancelling and
 * recording stay outside. It does not know which engine runs a program, nor what becomes of the audio.
 */
internal class Loop(private val spec: GenerationSpec, private val programs: OpenProgram) {
    /**
     * The whole generation. Together the decoder's pieces are exactly the seconds asked for, and each is ready while
     * the next is still to be decoded. A stage's program is loaded when its turn comes and closed when it is done, or
     * when the collector is cancelled. The conditioner's outputs reach the dit by name, whatever they are: given as
     * [conditioning], from an earlier generation of the same prompt and seconds, they are not computed again.
     *
     * [GenerationException] when a program fails or returns NaN.
     */
    fun generate(request: Request, prompt: Prompt, conditioning: Tensors? = null): Flow<Event> = flow {
        val known = conditioning ?: condition(conditionerInputs(request, prompt))
        val latent = denoise(request, known)
        decode(latent, samplesIn(request.seconds, spec.audio.sampleRate))
    }

    /** Load the conditioner, run it once, let it go: all that the dit is to know of the request. */
    suspend fun FlowCollector<Event>.condition(inputs: Tensors): Tensors =
        Stage("conditioner", programs).use { stage -> stage.run(inputs).also { emit(stage.event(it)) } }

    /** The dit's steps from noise, one event each; the clean latent. */
    private suspend fun FlowCollector<Event>.denoise(request: Request, conditioning: Tensors): FloatArray {
        val noise = latentNoise(spec, request.seed)
        return stepsFrom(noise(), noise, spec.sampler.schedule(request.steps), conditioning)
    }

    /** The dit's steps from [latent] along [schedule]; [noise] is what the sampler draws. */
    suspend fun FlowCollector<Event>.stepsFrom(
        latent: FloatArray,
        noise: () -> FloatArray,
        schedule: FloatArray,
        conditioning: Tensors,
    ): FloatArray = Stage("dit", programs, schedule.size - 1).use { dit ->
        val shape = listOf(1L) + spec.latent.shape
        val velocity = { given: FloatArray, sigma: Float ->
            dit.velocity(Tensor.of(shape, given), sigma, conditioning).toFloatArray()
        }
        var clean = latent
        for (step in spec.sampler.sampler.steps(velocity, latent, noise, schedule)) {
            clean = step.clean
            val made = mapOf("latent" to step.latent, "velocity" to step.velocity, "clean" to step.clean)
            emit(dit.event(made.mapValues { Tensor.of(shape, it.value) }))
        }
        clean
    }

    /** The first [samples] of the sound of [latent], in pieces; [GenerationException] where they hold NaN. */
    suspend fun FlowCollector<Event>.decode(latent: FloatArray, samples: Long) {
        val todo = windowsOf(spec, samples)
        val width = spec.window
        val hop = spec.latent.hop
        Stage("decoder", programs, todo.size).use { decoder ->
            for (part in todo) {
                val taken = columns(latent, spec.latent.channels, part.start, part.start + width)
                val shape = listOf(1L, spec.latent.channels.toLong(), width.toLong())
                val audio = decoder.run(mapOf("latent" to Tensor.of(shape, taken))).getValue("audio").toFloatArray()
                val offset = part.start.toLong() * hop
                val begin = (part.first.toLong() * hop - offset).toInt()
                val end = (minOf(part.end.toLong() * hop, samples) - offset).toInt()
                emit(decoder.event(mapOf("audio" to soundPiece(audio, begin, end))))
            }
        }
    }

    private fun soundPiece(audio: FloatArray, begin: Int, end: Int): Tensor {
        val piece = columns(audio, spec.audio.channels, begin, end)
        if (!piece.allFinite()) {
            throw GenerationException("the decoder returned NaN or infinity; run `edge-export verify` on the bundle")
        }
        return Tensor.of(listOf(spec.audio.channels.toLong(), (end - begin).toLong()), piece)
    }
}

/** What the conditioner takes. */
internal fun conditionerInputs(request: Request, prompt: Prompt): Tensors {
    val tokens = listOf(1L, prompt.ids.size.toLong())
    return mapOf(
        "input_ids" to Tensor.of(tokens, prompt.ids),
        "prompt_mask" to Tensor.of(tokens, prompt.mask),
        "seconds" to Tensor.of(listOf(1L), floatArrayOf(request.seconds.toFloat())),
    )
}

/** What [Loop.generate] will do, one name for each of its events; conditioned: when it is given the conditioning. */
internal fun piecesOf(spec: GenerationSpec, request: Request, conditioned: Boolean): List<String> {
    val steps = spec.sampler.schedule(request.steps).size - 1
    val todo = windowsOf(spec, samplesIn(request.seconds, spec.audio.sampleRate)).size
    return (if (conditioned) emptyList() else listOf("conditioner")) +
        (1..steps).map { "dit, step $it of $steps" } +
        (1..todo).map { "decoder, window $it of $todo" }
}

/** The windows of the latent that the first [samples] are decoded in. */
private fun windowsOf(spec: GenerationSpec, samples: Long): List<Window> {
    val needed = (samples + spec.latent.hop - 1) / spec.latent.hop
    return windows(spec.latent.length, spec.window, spec.latent.margin, needed.toInt())
}

/** Draws of the latent's size, in the order torch.randn would make them from [seed]. */
internal fun latentNoise(spec: GenerationSpec, seed: Long): () -> FloatArray {
    val random = TorchRandom(seed)
    return { random.randn(spec.latent.channels * spec.latent.length) }
}

/** Entries [first, end) of each row of [rows, length]. */
private fun columns(values: FloatArray, rows: Int, first: Int, end: Int): FloatArray {
    val length = values.size / rows
    val kept = FloatArray(rows * (end - first))
    for (row in 0 until rows) values.copyInto(kept, row * (end - first), row * length + first, row * length + end)
    return kept
}

/** The sound that the decoder's [pieces] hold. */
internal fun joined(pieces: List<Tensor>, sampleRate: Int): Audio {
    val channels = List(pieces[0].shape[0].toInt()) { FloatArray(pieces.sumOf { it.shape[1] }.toInt()) }
    var done = 0
    for (piece in pieces) {
        val samples = piece.shape[1].toInt()
        val numbers = piece.view().asFloatBuffer()
        for (channel in channels) numbers.get(channel, done, samples)
        done += samples
    }
    return Audio(channels, sampleRate)
}

/** One program: loaded at its first run, timed, and closed with this object. */
internal class Stage(private val name: String, private val programs: OpenProgram, private val count: Int = 1) :
    AutoCloseable {
    private var program: Program? = null
    private var load = 0.0
    private var run = 0.0
    var index = 0
        private set

    fun run(inputs: Tensors): Tensors {
        val begun = System.nanoTime()
        val ready = program ?: programs.open(name).also { program = it }
        val loaded = System.nanoTime()
        return ready.run(inputs).also {
            load = (loaded - begun) / NANO
            run = (System.nanoTime() - loaded) / NANO
        }
    }

    /** What the dit makes of [latent] at [sigma], given what the conditioner made. */
    fun velocity(latent: Tensor, sigma: Float, conditioning: Tensors): Tensor {
        val noised = mapOf("latent" to latent, "sigma" to Tensor.of(listOf(1L), floatArrayOf(sigma)))
        return run(conditioning + noised).getValue("velocity")
    }

    /** The event of the run just made. */
    fun event(tensors: Tensors): Event = Event(name, ++index, count, load, run, tensors)

    override fun close() {
        program?.close()
        program = null
    }

    private companion object {
        const val NANO = 1e9
    }
}
