package dev.edgeexport.demo

import android.content.Intent
import android.net.Uri
import dev.edgeexport.core.Audio
import dev.edgeexport.core.EdgeExportException
import dev.edgeexport.core.OutputException
import dev.edgeexport.core.Request
import dev.edgeexport.sdk.GenerationEvent
import dev.edgeexport.sdk.Sounds
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.NonCancellable
import kotlinx.coroutines.channels.SendChannel
import kotlinx.coroutines.withContext
import java.io.File
import java.io.IOException

/**
 * The sound on the screen and the clips on the disk: heard, drawn, kept, saved, shared, deleted. It knows no view, and
 * not how sound is made.
 *
 * @param sharedFolder the folder whose files other apps can be handed.
 */
internal class ClipModel(
    private val holder: StateHolder,
    private val clips: Clips,
    private val player: Player,
    private val sounds: Sounds,
    private val sharedFolder: File,
) {
    private var unsaved: GenerationEvent.Done? = null

    val canSave: Boolean get() = sounds.canSave

    fun start() = holder.aside {
        val found = withContext(Dispatchers.IO) {
            sharedFolder.listFiles().orEmpty().forEach { it.delete() }
            clips.cleanUp()
            clips.list()
        }
        holder.update { copy(clips = found) }
    }

    /** Hear and draw a sound of [frames] that is about to be made; what was shown before goes. */
    fun live(frames: Int, sampleRate: Int): LiveSound {
        holder.update { copy(picture = null, shown = null) }
        return LiveSound(player.live(), Sketcher(frames, sampleRate))
    }

    /** A sound whose pieces come one by one. */
    inner class LiveSound(private val pieces: SendChannel<Audio>, private val sketcher: Sketcher) {
        suspend fun add(piece: Audio) {
            pieces.send(piece)
            val picture = withContext(Dispatchers.Default) { sketcher.add(piece) }
            holder.update { copy(picture = picture) }
        }

        /** What was sent is heard to its end. */
        fun end() {
            pieces.close()
        }
    }

    /** Put a complete sound on the disk; it is not lost where that fails, nor when it is cancelled now. */
    suspend fun keep(done: GenerationEvent.Done) = withContext(NonCancellable) {
        try {
            val (saved, all) = withContext(Dispatchers.IO) { clips.keep(done.clip, done.record) to clips.list() }
            unsaved = null
            holder.update {
                copy(shown = saved, clips = all, problems = problems.filter { it.kind != ProblemKind.UNSAVED })
            }
        } catch (error: OutputException) {
            unsaved = done
            holder.report(Problem(ProblemKind.UNSAVED, error.message))
        }
    }

    /** Try once more to put on the disk what could not be. */
    fun keepAgain() {
        val done = unsaved ?: return
        holder.begin(Work.Keeping) { keep(done) }
    }

    fun play(clip: SavedClip) = holder.aside {
        val audio = withContext(Dispatchers.IO) { clips.audio(clip) }
        val picture = withContext(Dispatchers.Default) { Sketcher(audio.samples, audio.sampleRate).add(audio) }
        if (holder.now.work is Work.Generating) return@aside // whose sound is on the screen
        holder.update { copy(picture = picture, shown = clip) }
        player.play(audio)
    }

    fun stop() = player.stop()

    fun delete(clip: SavedClip) = holder.aside {
        if (holder.now.shown == clip) {
            stop()
            holder.update { copy(picture = null, shown = null) }
        }
        val left = withContext(Dispatchers.IO) {
            clips.delete(clip)
            clips.list()
        }
        holder.update { copy(clips = left) }
    }

    /** Into the device's music; where [canSave]. */
    fun save(clip: SavedClip) = holder.aside {
        sounds.save(clip.wav, "${clip.title}.wav")
        holder.update { copy(message = Message.SAVED) }
    }

    /** The system's question for a place; its answer is for [saveTo]. */
    fun askWhere(clip: SavedClip): Intent = sounds.createDocument("${clip.title}.wav")

    /** Of the clip whose WAV has that [name]. */
    fun saveTo(name: String, place: Uri) = holder.aside {
        val clip = withContext(Dispatchers.IO) { clips.list() }.find { it.wav.name == name }
            ?: throw OutputException("the clip $name is gone; choose another")
        sounds.saveTo(clip.wav, place)
        holder.update { copy(message = Message.SAVED) }
    }

    /** What hands the sound to another app; null where that failed, which is a problem by then. */
    suspend fun share(clip: SavedClip): Intent? = shared(clip.wav, "${clip.title}.wav", "audio/wav")

    /** The same for the record, in which the prompt is. */
    suspend fun shareRecord(clip: SavedClip): Intent? = shared(clip.record, "${clip.title}.json", "application/json")

    private suspend fun shared(from: File, name: String, type: String): Intent? = try {
        val copy = withContext(Dispatchers.IO) { copied(from, File(sharedFolder, name)) }
        sounds.share(copy, type)
    } catch (error: EdgeExportException) {
        holder.report(error)
        null
    }

    private fun copied(from: File, to: File): File = try {
        from.copyTo(to, overwrite = true)
    } catch (error: IOException) {
        throw OutputException("cannot write $to: ${error.message}; free some space", error)
    }
}

/** How many frames a sound of [request] has. */
internal fun framesOf(request: Request, sampleRate: Int): Int = Math.rint(request.seconds * sampleRate).toInt()
