package dev.edgeexport.sdk

import dev.edgeexport.core.Audio
import dev.edgeexport.core.Clip
import dev.edgeexport.core.Record
import dev.edgeexport.core.Request

/** What happens while a sound is generated, in the order in which it happens. */
public sealed interface GenerationEvent {
    /**
     * A piece of work is done: [index] of [count] of [stage], "conditioner", "dit" or "decoder".
     *
     * @property secondsLeft until the whole sound is there, as it went on this device before; null before the first
     *   sound that was generated to its end.
     */
    public data class Step(val stage: String, val index: Int, val count: Int, val secondsLeft: Double?) :
        GenerationEvent

    /** The next piece of the sound, which begins at [firstFrame] of the whole. */
    public class Sound(public val audio: Audio, public val firstFrame: Int) : GenerationEvent

    /** It is complete: the whole sound with its times, and the record of how it came about. */
    public class Done(public val clip: Clip, public val record: Record) : GenerationEvent
}

/** What a generator is doing. */
public sealed interface GeneratorState {
    /** Waiting for a request. */
    public data object Ready : GeneratorState

    /** At work on [request]; [step] is the last piece of work that is done. */
    public data class Generating(val request: Request, val step: GenerationEvent.Step?) : GeneratorState

    /** Cancelled: the piece of work under way ends, then it is ready. */
    public data object Stopping : GeneratorState

    /** It plays no more. */
    public data object Closed : GeneratorState
}
