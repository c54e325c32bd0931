package dev.edgeexport.core

import kotlinx.coroutines.flow.Flow
import kotlinx.coroutines.flow.emitAll
import kotlinx.coroutines.flow.flow
import kotlinx.coroutines.flow.onEach
import java.io.File
import java.util.concurrent.ConcurrentHashMap
import java.util.concurrent.locks.ReentrantLock
import kotlin.concurrent.withLock

/**
 * A sound and how it came about.
 *
 * @property cut it ends before the model's whole clip does.
 * @property bundle the sha256 of the manifest of the bundle it is from.
 * @property times of each stage: loading its program, and each run of it.
 */
public class Clip internal constructor(
    public val audio: Audio,
    public val request: Request,
    public val cut: Boolean,
    public val bundle: String,
    public val times: Map<String, StageTime>,
) {
    /** Seconds until the first piece of the sound could be handed on: all but the decoder's later pieces. */
    public val firstAudio: Double
        get() = times.values.sumOf { it.total } - times.getValue("decoder").runs.drop(1).sum()

    /**
     * Write a WAV of 16-bit samples, or of 32-bit floats; an existing file is replaced at once and whole. [tags]: also
     * write the prompt, and how to make the sound again. [audio] stays as it is.
     *
     * @throws GenerationException the audio holds NaN or infinity.
     * @throws OutputException the file cannot be written.
     */
    public fun save(
        file: File,
        float32: Boolean = false,
        finishing: Finishing = Finishing(),
        tags: Boolean = true,
    ): WavReport {
        val made = if (tags) Tags(bundle, request, finishing) else null
        return audio.save(file, float32, finishing, made, cut)
    }
}

/**
 * A bundle ready to play: prompts in, audio out. It knows no screen and no loudspeaker.
 *
 * Several coroutines may share one: their programs' runs take turns, so that they need no more memory than one.
 * Programs run in the collector's own context: collect with `flowOn` a dispatcher that may block.
 *
 * Making one reads the bundle's tokenizer.
 *
 * @param engine what runs the bundle's programs.
 * @param threads of the CPU; null: one for each fast core.
 * @param packedWeights the folder in which the engine keeps packed weights from one start to the next, which saves
 *   memory and most of loading; null: they are packed anew each time.
 * @param keepLoaded programs stay loaded until [close]; else each is loaded when its turn comes and closed when it is
 *   done, which takes longer and needs the memory of the largest alone.
 * @param force play even where the system says that there is less memory than that takes.
 * @throws UsageException the engine takes programs of another backend, or [threads] are out of range.
 * @throws BundleException the tokenizer is none.
 */
public class Generator(
    public val bundle: Bundle,
    internal val engine: Engine,
    threads: Int? = null,
    private val packedWeights: File? = null,
    private val keepLoaded: Boolean = true,
    private val force: Boolean = false,
) : AutoCloseable {
    internal val threads = threads ?: Machine.fastCores()

    @Volatile
    private var source: OpenProgram? = bundle.programs(engine, this.threads, packedWeights)
    private val tokenizer = bundle.readTokenizer()
    private val turn = ReentrantLock()
    private val loaded = ConcurrentHashMap<String, Program>()

    /** Stages that hold the program of each role. */
    private val users = HashMap<String, Int>()

    @Volatile
    private var remembered: Conditioning? = null

    private class Conditioning(val prompt: String, val seconds: Double, val tensors: Tensors)

    private val spec get() = bundle.manifest.generation

    /** The request's prompt as the model reads it; [UsageException] for a request out of range. */
    public fun encode(request: Request): Prompt {
        request.check(spec)
        return tokenizer.encodePrompt(request, spec)
    }

    /** What [events] will do, one name for each event to come; [UsageException] for a request out of range. */
    public fun pieces(request: Request): List<String> {
        request.check(spec)
        return piecesOf(spec, request, conditioned = conditioning(request) != null)
    }

    /** What [request] will take of memory: growth over a process that has opened nothing. */
    public fun estimate(request: Request): Estimate {
        val packed = if (packedWeights == null) Packed.EACH else Packed.MAPPED
        return bundle.manifest.estimate(request, engine.overhead, keepLoaded, packed)
    }

    /**
     * Play [request]: an event after each piece of work. Those of the decoder hold "audio", the next samples.
     *
     * Nothing is loaded before it is collected; cancelling the collector ends the generation after the piece of work
     * under way. The conditioning of the last prompt and seconds is kept, so that another seed of them begins with the
     * dit. [record] watches it for a record.
     *
     * Collecting it throws [UsageException] for a request out of range, and [GenerationException] where a program
     * failed or returned NaN, memory is short, or this generator was closed.
     */
    public fun events(request: Request, record: Recorder? = null): Flow<Event> = flow {
        val prompt = encode(request)
        opened()
        if (!force && loaded.isEmpty()) refuseLittleMemory(estimate(request), Machine.memoryAvailable())
        val programs = OpenProgram(::open)
        val loop = Loop(spec, record?.opening(programs) ?: programs)
        val known = conditioning(request)
        record?.conditioning = known
        val events = loop.generate(request, prompt, known).onEach { remember(request, it) }
        emitAll(if (record == null) events else events.onEach(record::add))
    }

    /**
     * Play [request] to its end; [onEvent] is called after each piece of work. [record] and what is thrown: as [events].
     *
     * Programs run where it is called: not on a thread that must answer, but in `withContext(Dispatchers.Default)`.
     */
    public suspend fun generate(
        request: Request,
        record: Recorder? = null,
        onEvent: suspend (Event) -> Unit = {},
    ): Clip {
        val loads = LinkedHashMap<String, Double>()
        val runs = LinkedHashMap<String, ArrayList<Double>>()
        val pieces = ArrayList<Tensor>()
        events(request, record).collect { event ->
            loads[event.stage] = (loads[event.stage] ?: 0.0) + event.load
            runs.getOrPut(event.stage) { ArrayList() } += event.run
            event.tensors["audio"]?.let { pieces += it }
            onEvent(event)
        }
        val audio = joined(pieces, spec.audio.sampleRate)
        return Clip(
            audio = audio,
            request = request.resolved(spec),
            cut = audio.samples < spec.latent.samples,
            bundle = bundle.manifestSha256,
            times = runs.mapValues { StageTime(loads.getValue(it.key), it.value) },
        )
    }

    /**
     * Replay the bundle's golden vectors on this device: one check after another, in the order of the data.
     *
     * Collecting it throws [BundleException] where the vectors were left out or are none, and [GenerationException].
     */
    public fun prove(): Flow<Check> = flow {
        opened()
        emitAll(prove(bundle, tokenizer, OpenProgram(::open)))
    }

    /** Let programs go that stay loaded and are not in use, when memory is short; they are loaded again when needed. */
    public fun unload(): Unit = turn.withLock {
        val idle = loaded.keys.filter { users[it] == 0 }
        for (role in idle) loaded.remove(role)?.close()
    }

    /** Let the programs go. A generation under way ends with [GenerationException] at its next piece of work. */
    override fun close(): Unit = turn.withLock {
        source = null
        remembered = null
        loaded.values.forEach { it.close() }
        loaded.clear()
    }

    private fun opened(): OpenProgram =
        source ?: throw GenerationException("the generator of ${bundle.folder} is closed; load the bundle again")

    /** A program that waits for its turn. */
    private fun open(role: String): Program = turn.withLock {
        val program = loaded[role] ?: opened().open(role)
        if (keepLoaded) loaded[role] = program
        users[role] = (users[role] ?: 0) + 1
        InTurn(program, role)
    }

    private fun conditioning(request: Request): Tensors? =
        remembered?.takeIf { it.prompt == request.prompt && it.seconds == request.seconds }?.tensors

    private fun remember(request: Request, event: Event) {
        if (event.stage == "conditioner") remembered = Conditioning(request.prompt, request.seconds, event.tensors)
    }

    /** [program], whose runs take turns with all others of this generator; its stage closes this, not always that. */
    private inner class InTurn(private val program: Program, private val role: String) : Program {
        override fun run(inputs: Tensors): Tensors = turn.withLock {
            opened()
            program.run(inputs)
        }

        override fun close() {
            turn.withLock {
                users[role] = users.getValue(role) - 1
                if (!keepLoaded) program.close()
            }
        }
    }
}
