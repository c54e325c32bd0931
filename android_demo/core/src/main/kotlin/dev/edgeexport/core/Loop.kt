package dev.edgeexport.core

import kotlinx.coroutines.flow.Flow
import kotlinx.coroutines.flow.FlowCollector
import kotlinx.coroutines.flow.flow

/**
 * A piece of work is done: step [index] of [count] of [stage], which took [load] + [run] seconds.
 *
 * @property stage "conditioner", "dit" or "decoder", which is of two programs where the bundle's decoder is cut.
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

/** Seconds that a stage took: loading its programs, and each run of them. */
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
 * The loop: conditioner, dit steps, pieces of the decoder; an event after each piece of work. Progress, cancelling and
 * recording stay outside. It does not know which engine runs a program, nor what becomes of the audio.
 */
internal class Loop(private val spec: GenerationSpec, private val programs: OpenProgram) {
    /**
     * The whole generation. Together the decoder's pieces are exactly the seconds asked for, and each is ready while
     * the next is still to be decoded. A stage's programs are loaded when their turn comes and closed when it is done,
     * or when the collector is cancelled. The conditioner's outputs reach the dit by name, whatever they are: given as
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
        val whole = Tensor.of(listOf(1L) + spec.latent.shape, latent)
        var left = samples
        Stage("decoder", programs, pieceCount(spec, samples)).use { decoder ->
            for (part in windowsOf(spec, samples)) {
                val taken = whole.columns(part.start, part.start + spec.window)
                for (sound in sounds(decoder, taken, part, samples)) {
                    val piece = soundPiece(sound, left)
                    left -= piece.shape[1]
                    emit(decoder.event(mapOf("audio" to piece)))
                }
            }
        }
    }

    /**
     * The sound that is kept of a window, whose latents are [taken]; of a decoder that has a tail, one tile of the
     * window's features after another, as far as [samples] of the clip go.
     */
    private fun sounds(decoder: Stage, taken: Tensor, part: Window, samples: Long): Sequence<Tensor> = sequence {
        val made = decoder.run(mapOf("latent" to taken))
        if (spec.features == null) {
            yield(kept(made, part, spec.latent.hop))
            return@sequence
        }
        for (tile in tilesOf(spec, part, samples)) {
            val given = made.getValue("features").columns(tile.start, tile.start + spec.tile)
            yield(kept(decoder.run(mapOf("features" to given), DECODER_TAIL), tile, spec.tailHop))
        }
    }

    private fun kept(outputs: Tensors, part: Window, hop: Int): Tensor =
        outputs.getValue("audio").columns((part.first - part.start) * hop, (part.end - part.start) * hop)

    /** [sound] as [channels, samples], of which no more than [most] are wanted. */
    private fun soundPiece(sound: Tensor, most: Long): Tensor {
        val piece = sound.columns(0, minOf(sound.shape.last(), most).toInt())
        val numbers = piece.toFloatArray()
        if (!numbers.allFinite()) {
            throw GenerationException("the decoder returned NaN or infinity; run `edge-export verify` on the bundle")
        }
        return Tensor.of(piece.shape.drop(1), numbers)
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
    val todo = pieceCount(spec, samplesIn(request.seconds, spec.audio.sampleRate))
    return (if (conditioned) emptyList() else listOf("conditioner")) +
        (1..steps).map { "dit, step $it of $steps" } +
        (1..todo).map { "decoder, piece $it of $todo" }
}

/** How many pieces the first [samples] are decoded in. */
private fun pieceCount(spec: GenerationSpec, samples: Long): Int =
    windowsOf(spec, samples).sumOf { if (spec.features == null) 1 else tilesOf(spec, it, samples).size }

/** The windows of the latent that the first [samples] are decoded in. */
private fun windowsOf(spec: GenerationSpec, samples: Long): List<Window> {
    val needed = (samples + spec.latent.hop - 1) / spec.latent.hop
    return windows(spec.latent.length, spec.window, spec.latent.margin, needed.toInt())
}

/**
 * The tiles of a window's features that what is kept of it is decoded in, as far as the first [samples] go.
 *
 * Where a window is cut, its features are wrong; but nothing is kept within the latent's margin of there.
 */
private fun tilesOf(spec: GenerationSpec, part: Window, samples: Long): List<Window> {
    val (rate, margin) = spec.features!!
    val begin = part.start * rate
    val end = minOf((part.end * rate).toLong(), (samples + spec.tailHop - 1) / spec.tailHop).toInt()
    return windows(spec.window * rate, spec.tile, margin, needed = end - begin, first = part.first * rate - begin)
}

/** Draws of the latent's size, in the order torch.randn would make them from [seed]. */
internal fun latentNoise(spec: GenerationSpec, seed: Long): () -> FloatArray {
    val random = TorchRandom(seed)
    return { random.randn(spec.latent.channels * spec.latent.length) }
}

/** Moments [first, end) of each channel of [1, channels, length]. */
private fun Tensor.columns(first: Int, end: Int): Tensor {
    val (channels, length) = shape.drop(1).map(Long::toInt)
    val numbers = view().asFloatBuffer()
    val width = end - first
    val taken = FloatArray(channels * width)
    for (channel in 0 until channels) {
        numbers.position(channel * length + first)
        numbers.get(taken, channel * width, width)
    }
    return Tensor.of(listOf(1L, shape[1], width.toLong()), taken)
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

/** A stage's programs: each loaded at its first run, timed, and closed with this object. */
internal class Stage(private val name: String, private val programs: OpenProgram, private val count: Int = 1) :
    AutoCloseable {
    private val loaded = LinkedHashMap<String, Program>()
    private var load = 0.0
    private var run = 0.0
    var index = 0
        private set

    /** Run the program of a [role]; that of the stage's own name. */
    fun run(inputs: Tensors, role: String = name): Tensors {
        val begun = System.nanoTime()
        val program = loaded.getOrPut(role) { programs.open(role) }
        val ready = System.nanoTime()
        return program.run(inputs).also {
            load += (ready - begun) / NANO
            run += (System.nanoTime() - ready) / NANO
        }
    }

    /** What the dit makes of [latent] at [sigma], given what the conditioner made. */
    fun velocity(latent: Tensor, sigma: Float, conditioning: Tensors): Tensor {
        val noised = mapOf("latent" to latent, "sigma" to Tensor.of(listOf(1L), floatArrayOf(sigma)))
        return run(conditioning + noised).getValue("velocity")
    }

    /** The event of the runs since the last one. */
    fun event(tensors: Tensors): Event = Event(name, ++index, count, load, run, tensors).also {
        load = 0.0
        run = 0.0
    }

    override fun close() {
        loaded.values.forEach { it.close() }
        loaded.clear()
    }

    private companion object {
        const val NANO = 1e9
    }
}
