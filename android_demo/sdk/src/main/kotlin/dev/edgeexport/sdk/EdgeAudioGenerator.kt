package dev.edgeexport.sdk

import android.content.Context
import dev.edgeexport.core.Bundle
import dev.edgeexport.core.Check
import dev.edgeexport.core.Clip
import dev.edgeexport.core.Engine
import dev.edgeexport.core.Estimate
import dev.edgeexport.core.GenerationException
import dev.edgeexport.core.Generator
import dev.edgeexport.core.Prompt
import dev.edgeexport.core.Request
import dev.edgeexport.core.UsageException
import kotlinx.coroutines.CancellationException
import kotlinx.coroutines.CoroutineScope
import kotlinx.coroutines.CoroutineStart
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.ExecutorCoroutineDispatcher
import kotlinx.coroutines.Job
import kotlinx.coroutines.SupervisorJob
import kotlinx.coroutines.asCoroutineDispatcher
import kotlinx.coroutines.cancel
import kotlinx.coroutines.channels.Channel
import kotlinx.coroutines.channels.SendChannel
import kotlinx.coroutines.flow.Flow
import kotlinx.coroutines.flow.MutableStateFlow
import kotlinx.coroutines.flow.StateFlow
import kotlinx.coroutines.flow.asStateFlow
import kotlinx.coroutines.flow.flow
import kotlinx.coroutines.launch
import kotlinx.coroutines.withContext
import java.util.concurrent.Executors

/**
 * How a generator is to work.
 *
 * @property threads of the CPU; null: one for each fast core. A number is for the whole process.
 * @property engine what runs the programs.
 * @property force play even where the system says that there is less memory than that takes.
 * @property label a word for this device in records, such as "app:pixel-8".
 */
public class GeneratorOptions(
    public val threads: Int? = null,
    public val engine: Engine = ExecuTorchEngine(),
    public val force: Boolean = false,
    public val label: String = "",
)

/**
 * What a generation will take: [memory] beyond what the process has, and [seconds] as it went on this device before;
 * null before the first.
 */
public data class GenerationEstimate(val memory: Estimate, val seconds: Double?)

/**
 * A bundle ready to play on this device: prompts in, sound out. It knows no screen and no loudspeaker.
 *
 * Programs run on a thread of the generator's own: every call here may be made on the main thread. One sound is
 * generated at a time. Programs stay loaded from one sound to the next; where there is no room for that, those of a
 * stage go before the next is loaded.
 */
public class EdgeAudioGenerator internal constructor(
    private val core: Generator,
    private val frugal: Generator,
    private val openSeconds: Double,
    private val timings: Timings,
    private val memory: DeviceMemory,
    private val note: CrashNote,
    private val label: String,
) : AutoCloseable {
    private val thread: ExecutorCoroutineDispatcher =
        Executors.newSingleThreadExecutor { Thread(it, "edge-audio") }.asCoroutineDispatcher()
    private val scope = CoroutineScope(SupervisorJob() + thread)
    private val mutableState = MutableStateFlow<GeneratorState>(GeneratorState.Ready)
    private val lock = Any()
    private var current: Job? = null

    /** The programs are loaded: what they take is taken already. */
    @Volatile
    private var isWarm = false

    /** What it plays. */
    public val bundle: Bundle get() = core.bundle

    /** What it is doing, from one moment to the next. */
    public val state: StateFlow<GeneratorState> = mutableState.asStateFlow()

    /** How the model reads a prompt; [UsageException] for a request out of range. */
    public suspend fun encode(request: Request): Prompt = withContext(thread) { core.encode(request) }

    /** What [request] will take; [UsageException] for a request out of range. */
    public fun estimate(request: Request): GenerationEstimate =
        GenerationEstimate(core.estimate(request), timings.secondsLeft(stages(core, request), done = 0))

    /**
     * Generate the sound of [request]: steps, pieces of sound as soon as they are there, and at last the whole.
     *
     * Cancelling the collector returns at once; the piece of work under way ends by itself, which [state] shows, and
     * the next generation waits for that.
     *
     * Collecting it throws [UsageException] for a request out of range, and where a sound is being generated already;
     * [GenerationException] where a program fails, memory is short, or this was closed.
     */
    public fun events(request: Request): Flow<GenerationEvent> = flow {
        val events = Channel<GenerationEvent>(Channel.UNLIMITED) // at most the clip itself
        val job = begin(request, events)
        try {
            for (event in events) emit(event)
        } finally {
            stop(job)
        }
    }

    /** Generate the sound of [request] to its end; [onEvent] is called after each piece of work. As [events] else. */
    public suspend fun generate(request: Request, onEvent: suspend (GenerationEvent) -> Unit = {}): Clip {
        var clip: Clip? = null
        events(request).collect { event ->
            if (event is GenerationEvent.Done) clip = event.clip
            onEvent(event)
        }
        return clip ?: throw GenerationException("the generation ended without a sound; generate it again")
    }

    /**
     * Replay the bundle's golden vectors on this device: one check after another. It throws as [events] does, and
     * [dev.edgeexport.core.BundleException] where the vectors were left out.
     */
    public fun prove(): Flow<Check> = flow {
        val checks = Channel<Check>(Channel.UNLIMITED)
        val request = bundle.manifest.goldenRequest
        val generator = generatorFor(request)
        val job = start(GeneratorState.Generating(request, step = null), checks) {
            note.during("proof") { using(generator) { it.prove().collect { check -> checks.send(check) } } }
        }
        try {
            for (check in checks) emit(check)
        } finally {
            stop(job)
        }
    }

    /** Let programs go that stay loaded and have no work: the system is short of memory. */
    public fun trimMemory() {
        isWarm = false
        scope.launch(Dispatchers.IO) { core.unload() } // between two pieces of work; the own thread is busy
    }

    /** Let all of it go. A generation under way ends with [GenerationException]. */
    override fun close() {
        val running = synchronized(lock) {
            mutableState.value = GeneratorState.Closed
            current
        }
        running?.cancel()
        scope.launch { listOf(core, frugal).forEach { it.close() } }.invokeOnCompletion {
            scope.cancel()
            thread.close()
        }
    }

    private fun begin(request: Request, events: SendChannel<GenerationEvent>): Job {
        val generator = generatorFor(request)
        val run = Run(generator, request, stages(generator, request), timings, note)
        return start(GeneratorState.Generating(request, step = null), events) {
            using(generator) {
                run.play(openSeconds, label) { event ->
                    if (event is GenerationEvent.Step) show(GeneratorState.Generating(request, event))
                    events.send(event)
                }
            }
        }
    }

    /** That which keeps its programs, where there is room for them. */
    private fun generatorFor(request: Request): Generator {
        val hasRoom = if (isWarm) !memory.isLow else memory.hasRoomFor(core.estimate(request))
        return if (hasRoom) core else frugal
    }

    /** Do [work] with one of the two, for which the other makes room. */
    private suspend fun using(generator: Generator, work: suspend (Generator) -> Unit) {
        if (generator === frugal) core.unload()
        isWarm = false
        work(generator)
        isWarm = generator === core
    }

    /** Do [work] on the generator's thread, after what was cancelled before has ended; [into] is closed with it. */
    private fun start(state: GeneratorState, into: SendChannel<*>, work: suspend () -> Unit): Job = synchronized(lock) {
        val before = current
        when {
            mutableState.value == GeneratorState.Closed ->
                throw GenerationException("the generator is closed; open the bundle again")

            before?.isActive == true ->
                throw UsageException("a sound is being generated already; wait for its end, or cancel it")
        }
        if (before == null || before.isCompleted) mutableState.value = state
        val job = scope.launch(start = CoroutineStart.LAZY) {
            before?.join()
            show(state)
            work()
        }
        current = job
        job.invokeOnCompletion { error -> finish(job, into, error) }
        job.start()
        job
    }

    private fun finish(job: Job, into: SendChannel<*>, error: Throwable?) = synchronized(lock) {
        val closed = mutableState.value == GeneratorState.Closed
        if (!closed && current === job) mutableState.value = GeneratorState.Ready
        val cut = closed && error is CancellationException
        into.close(if (cut) GenerationException("the generator was closed before the sound was complete") else error)
    }

    private fun show(state: GeneratorState) = synchronized(lock) {
        if (mutableState.value is GeneratorState.Generating || mutableState.value == GeneratorState.Stopping) {
            mutableState.value = state
        }
    }

    private fun stop(job: Job) = synchronized(lock) {
        if (job.isActive && mutableState.value is GeneratorState.Generating) {
            mutableState.value = GeneratorState.Stopping
        }
        job.cancel()
    }

    private fun stages(generator: Generator, request: Request): List<String> =
        generator.pieces(request).map { it.substringBefore(',') }

    public companion object {
        /**
         * Make [bundle] ready to play on this device.
         *
         * @throws dev.edgeexport.core.DeviceException it is of 32 bits, or its CPU lacks what the bundle needs.
         * @throws UsageException the engine plays bundles of another backend.
         * @throws dev.edgeexport.core.BundleException its tokenizer is none.
         */
        public suspend fun open(
            context: Context,
            bundle: Bundle,
            options: GeneratorOptions = GeneratorOptions(),
        ): EdgeAudioGenerator = withContext(Dispatchers.IO) {
            val begun = System.nanoTime()
            requireDevice(bundle)
            val (core, frugal) = listOf(true, false).map { keepLoaded ->
                Generator(bundle, options.engine, options.threads, keepLoaded = keepLoaded, force = options.force)
            }
            val preferences = context.getSharedPreferences("dev.edgeexport.timings", Context.MODE_PRIVATE)
            val timings = Timings(preferences, "${bundle.manifestSha256.take(16)}-${options.threads ?: 0}")
            val seconds = (System.nanoTime() - begun) / 1e9
            val note = CrashNote(context)
            EdgeAudioGenerator(core, frugal, seconds, timings, DeviceMemory(context), note, options.label)
        }
    }
}
