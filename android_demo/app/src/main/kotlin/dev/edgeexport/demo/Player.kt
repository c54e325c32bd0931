package dev.edgeexport.demo

import dev.edgeexport.core.Audio
import kotlinx.coroutines.CoroutineScope
import kotlinx.coroutines.CoroutineStart
import kotlinx.coroutines.Job
import kotlinx.coroutines.channels.Channel
import kotlinx.coroutines.channels.SendChannel
import kotlinx.coroutines.currentCoroutineContext
import kotlinx.coroutines.job
import kotlinx.coroutines.launch

/** Where sound comes out: plays pieces until the channel is closed, and says which frame is heard. */
internal fun interface Loudspeaker {
    suspend fun play(pieces: Channel<Audio>, onFrame: (Int) -> Unit)
}

/**
 * Plays one sound at a time; the next one ends the one before. It knows no files.
 *
 * @param scope of the main thread, where all of this is called.
 * @param onFrame hears which frame is at the loudspeaker; null: nothing plays any more.
 */
internal class Player(
    private val scope: CoroutineScope,
    private val loudspeaker: Loudspeaker,
    private val onFrame: (Int?) -> Unit,
) {
    private var playing: Job? = null

    fun play(audio: Audio) {
        live().apply {
            trySend(audio)
            close()
        }
    }

    /** Play what is sent, as it comes, until it is closed; [stop] lets the rest go unheard. */
    fun live(): SendChannel<Audio> {
        stop()
        val pieces = Channel<Audio>(Channel.UNLIMITED)
        val job = scope.launch(start = CoroutineStart.LAZY) {
            val self = currentCoroutineContext().job
            loudspeaker.play(pieces) { frame -> scope.launch { if (playing === self) onFrame(frame) } }
        }
        playing = job
        onFrame(0)
        job.invokeOnCompletion { if (playing === job) stop() }
        job.start()
        return pieces
    }

    fun stop() {
        playing?.cancel()
        playing = null
        onFrame(null)
    }
}
