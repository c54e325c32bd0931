package dev.edgeexport.demo

import dev.edgeexport.core.Check
import dev.edgeexport.core.Request
import dev.edgeexport.sdk.GenerationEvent
import java.io.File

/**
 * Everything that the screen shows. It knows no view.
 *
 * @property bundle what plays; null where none is open.
 * @property installed the bundles to choose from.
 * @property secondsExpected until the sound of the draft would be there; null before the first on this device.
 * @property dropped tokens of the last prompt that the model did not read.
 * @property interrupted what was being generated when the app was put away.
 * @property picture of the sound on the screen, as far as it goes.
 * @property shown the clip that it is of; null while it is being generated, or where there is none.
 * @property playedFrame of that sound at the loudspeaker; null while nothing plays.
 * @property checks of the proof so far; null where none was asked for.
 * @property message to be shown once.
 */
internal data class MainState(
    val draft: Draft = Draft(),
    val work: Work = Work.Idle,
    val bundle: BundleCard? = null,
    val installed: List<BundleChoice> = emptyList(),
    val secondsExpected: Double? = null,
    val dropped: Int = 0,
    val interrupted: Draft? = null,
    val picture: Picture? = null,
    val shown: SavedClip? = null,
    val playedFrame: Int? = null,
    val clips: List<SavedClip> = emptyList(),
    val checks: List<Check>? = null,
    val problems: List<Problem> = emptyList(),
    val message: Message? = null,
)

/** What the user has asked for so far. [seedLocked]: the next sound is of this seed too. */
internal data class Draft(
    val prompt: String = "",
    val seconds: Double = 7.0,
    val seed: Long = 0,
    val seedLocked: Boolean = false,
    val steps: Int = 8,
) {
    fun request(): Request = Request(prompt, seconds, seed, steps)
}

/** The draft that asks for just this again. */
internal fun Request.draft(defaultSteps: Int): Draft =
    Draft(prompt, seconds, seed, seedLocked = true, steps = steps ?: defaultSteps)

/** What is going on: one thing at a time. */
internal sealed interface Work {
    data object Idle : Work

    /** A bundle is opened, for which so many [bytes] were copied. */
    data class Opening(val bytes: Long = 0) : Work

    /** A bundle comes in from elsewhere. */
    data class Importing(val bytes: Long = 0) : Work

    /** [step] is the last piece of work that is done. */
    data class Generating(val request: Request, val step: GenerationEvent.Step? = null) : Work

    /** The sound is complete and goes to the disk. */
    data object Keeping : Work

    data object Proving : Work

    /** It was cancelled, and a piece of it is under way still. */
    data object Stopping : Work
}

/**
 * What plays, for those who want to know.
 *
 * @property bytes on the disk.
 * @property memoryBytes that a sound of the usual length takes.
 * @property notices the licences and notices that came with it.
 * @property hasGolden there is something to hold a proof against.
 */
internal data class BundleCard(
    val folder: File,
    val model: String,
    val license: String,
    val notices: List<File>,
    val recipe: String,
    val target: String,
    val backend: String,
    val bytes: Long,
    val memoryBytes: Long,
    val threads: Int,
    val secondsLimit: Double,
    val defaultSteps: Int,
    val hasGolden: Boolean,
    val isBuiltIn: Boolean,
)

/** A bundle to choose. [name] is its model's and recipe's; null where it cannot be opened. */
internal data class BundleChoice(val folder: File, val name: String?, val isBuiltIn: Boolean)

/** What went well, in a word. */
internal enum class Message(val text: Int) {
    SAVED(R.string.message_saved),
    IMPORTED(R.string.message_imported),
    NOTHING_CHOSEN(R.string.message_nothing_chosen),
}
