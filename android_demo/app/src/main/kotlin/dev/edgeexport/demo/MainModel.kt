package dev.edgeexport.demo

import dev.edgeexport.core.EdgeExportException
import dev.edgeexport.core.MAX_SEED
import dev.edgeexport.core.Request
import dev.edgeexport.sdk.CrashNote
import dev.edgeexport.sdk.EdgeAudioGenerator
import dev.edgeexport.sdk.GenerationEvent
import dev.edgeexport.sdk.GeneratorState
import kotlinx.coroutines.NonCancellable
import kotlinx.coroutines.flow.StateFlow
import kotlinx.coroutines.flow.distinctUntilChanged
import kotlinx.coroutines.flow.first
import kotlinx.coroutines.flow.map
import kotlinx.coroutines.withContext
import kotlin.random.Random

private const val DRAFT = "draft"
private const val INTERRUPTED = "interrupted"

/**
 * The screen without its views: what it shows as a state, what can be done as functions, called on the main thread.
 *
 * It lives as long as the process, and so outlives the rotation of the screen.
 */
internal class MainModel(
    private val holder: StateHolder,
    val bundles: BundleModel,
    val clips: ClipModel,
    private val settings: Settings,
    note: CrashNote,
) {
    val state: StateFlow<MainState> = holder.state

    /** At what the process before died; asked before this one plays anything. */
    private val ended: String? = note.take()
    private var isStarted = false

    /** To be called when the screen appears; all but the first time it does nothing. */
    fun start() {
        if (isStarted) return
        isStarted = true
        holder.update {
            copy(draft = settings.draft(DRAFT) ?: draft, interrupted = settings.draft(INTERRUPTED))
        }
        ended?.let { report(Problem(ProblemKind.ENDED, it)) }
        holder.aside { state.map { it.bundle }.distinctUntilChanged().collect { expect() } }
        clips.start()
        bundles.start()
    }

    /** The screen is gone: what is being generated stops after the piece under way, and can go on later. */
    fun putAway() {
        val work = holder.now.work
        if (work is Work.Generating) {
            holder.update { copy(interrupted = draftOf(work.request)) }
            holder.cancel()
        } else if (work == Work.Proving) {
            holder.cancel()
        }
        clips.stop()
        settings.keep(DRAFT, holder.now.draft)
        settings.keep(INTERRUPTED, holder.now.interrupted)
    }

    /** The system is short of memory. */
    fun trimMemory() {
        bundles.generator?.trimMemory()
    }

    fun edit(change: Draft.() -> Draft) {
        holder.update { copy(draft = draft.change(), dropped = 0) }
        expect()
    }

    /** Another seed. */
    fun roll() = edit { copy(seed = Random.nextLong(MAX_SEED + 1)) }

    /** Ask for what made [clip], with its seed. */
    fun again(clip: SavedClip) = edit { draftOf(clip.request) }

    /** Generate what is asked for: another sound each time, unless the seed is locked. */
    fun generate() {
        if (!holder.now.draft.seedLocked && holder.now.work == Work.Idle) roll()
        generate(holder.now.draft.request())
    }

    /** Generate what was interrupted again from its seed, which gives the same sound. */
    fun goOn() {
        val draft = holder.now.interrupted ?: return
        edit { draft }
        generate(draft.request())
    }

    fun forgetInterrupted() {
        holder.update { copy(interrupted = null) }
        settings.keep(INTERRUPTED, null)
    }

    fun cancel() {
        if (holder.now.work is Work.Generating) clips.stop()
        holder.cancel()
    }

    /** Hold the bundle's golden vectors against what this device computes; of half a proof nothing is left. */
    fun prove() {
        val generator = bundles.generator ?: return
        holder.begin(Work.Proving) {
            holder.update { copy(checks = emptyList()) }
            var isWhole = false
            try {
                whole(generator) {
                    generator.prove().collect { holder.update { copy(checks = checks.orEmpty() + it) } }
                }
                isWhole = true
            } finally {
                if (!isWhole) holder.update { copy(checks = null) }
            }
        }
    }

    fun report(problem: Problem) = holder.report(problem)

    fun dismiss(problem: Problem) = holder.update { copy(problems = problems - problem) }

    /** [message], to be shown once. */
    fun say(message: Message) = holder.update { copy(message = message) }

    fun messageShown() = holder.update { copy(message = null) }

    private fun generate(request: Request) {
        val generator = bundles.generator ?: return
        holder.begin(Work.Generating(request)) {
            holder.update { copy(problems = problems.filter { it.kind.outlivesGeneration }) }
            forgetInterrupted()
            whole(generator) { sound(generator, request) }
            expect()
        }
    }

    private suspend fun sound(generator: EdgeAudioGenerator, request: Request) {
        val dropped = generator.encode(request).dropped
        holder.update { copy(dropped = dropped) }
        val rate = generator.bundle.manifest.sampleRate
        val live = clips.live(framesOf(request, rate), rate)
        try {
            generator.events(request).collect { event ->
                when (event) {
                    is GenerationEvent.Step -> holder.update { copy(work = Work.Generating(request, event)) }
                    is GenerationEvent.Sound -> live.add(event.audio)
                    is GenerationEvent.Done -> keep(event)
                }
            }
        } catch (error: EdgeExportException) {
            clips.stop()
            throw error
        } finally {
            live.end()
        }
    }

    private suspend fun keep(done: GenerationEvent.Done) {
        holder.update { copy(work = Work.Keeping) }
        clips.keep(done)
    }

    /** [action], which is over when the generator is: a cancelled one still has a piece of work to end. */
    private suspend fun whole(generator: EdgeAudioGenerator, action: suspend () -> Unit) {
        try {
            action()
        } finally {
            withContext(NonCancellable) {
                generator.state.first { it == GeneratorState.Ready || it == GeneratorState.Closed }
            }
        }
    }

    /** How long the draft would take; while it cannot be made, nobody knows. */
    private fun expect() {
        val seconds = try {
            bundles.generator?.estimate(holder.now.draft.request())?.seconds
        } catch (_: EdgeExportException) {
            null
        }
        holder.update { copy(secondsExpected = seconds) }
    }

    private fun draftOf(request: Request): Draft = request.draft(holder.now.bundle?.defaultSteps ?: Draft().steps)
}
