package dev.edgeexport.demo

import dev.edgeexport.core.Audio
import dev.edgeexport.core.Clip
import dev.edgeexport.core.EdgeExportException
import dev.edgeexport.core.OutputException
import dev.edgeexport.core.Record
import dev.edgeexport.core.Request
import dev.edgeexport.core.Tags
import dev.edgeexport.core.UsageException
import java.io.File
import java.io.IOException
import java.nio.ByteBuffer
import java.nio.ByteOrder
import java.util.Locale

/**
 * A clip on the disk: the WAV, whose tags say how to make it again, and beside it the record of its generation.
 *
 * @property bundle the sha256 of the manifest of the bundle that it is from.
 */
internal data class SavedClip(val wav: File, val request: Request, val bundle: String) {
    val record: File get() = File(wav.parentFile, "${wav.nameWithoutExtension}.json")

    /** When it was made, in milliseconds since 1970. */
    val made: Long get() = wav.nameWithoutExtension.toLong()

    /** A name for others than this app: the first words of the prompt, in ASCII, and the seed. */
    val title: String
        get() {
            val words = request.prompt.lowercase(Locale.ROOT).split(NO_WORD).filter(String::isNotEmpty)
            return (words.joinToString("-").take(TITLE_CHARACTERS).trim('-').ifEmpty { "sound" }) + "-${request.seed}"
        }

    private companion object {
        val NO_WORD = Regex("[^a-z0-9]+")
        const val TITLE_CHARACTERS = 40
    }
}

/**
 * The last clips, in a [folder] of their own; the oldest goes when there are more than [most]. It reads and writes
 * files: to be used off the main thread.
 *
 * A clip is there when its WAV is, which appears whole and last.
 */
internal class Clips(private val folder: File, private val most: Int = MOST) {
    /** The newest first. What is no clip of ours, or damaged, is left out. */
    fun list(): List<SavedClip> = folder.listFiles().orEmpty()
        .filter { NAME.matches(it.name) }
        .sortedByDescending { it.name }
        .mapNotNull(::clipAt)

    /** Put [clip] and its [record] on the disk; [OutputException] where there is no room, and then nothing is there. */
    @Synchronized
    fun keep(clip: Clip, record: Record): SavedClip {
        folder.mkdirs()
        val wav = freePlace()
        val saved = SavedClip(wav, clip.request, clip.bundle)
        try {
            write(saved.record, record)
            clip.save(wav)
        } catch (error: EdgeExportException) {
            saved.record.delete()
            throw error
        }
        list().drop(most).forEach(::delete)
        return saved
    }

    /** The sound of [clip]; [UsageException] where its file is gone or damaged. */
    fun audio(clip: SavedClip): Audio {
        val data = try {
            clip.wav.readBytes()
        } catch (error: IOException) {
            throw UsageException("${clip.wav} cannot be read; delete the clip, and generate it again", error)
        }
        return audioOf(data) ?: throw UsageException("${clip.wav} is damaged; delete the clip, and generate it again")
    }

    fun delete(clip: SavedClip) {
        clip.wav.delete()
        clip.record.delete()
    }

    /** Remove what a process left that was killed while it wrote. To be called at the start. */
    fun cleanUp() {
        val files = folder.listFiles().orEmpty()
        val clips = files.filter { NAME.matches(it.name) }.map { it.nameWithoutExtension }.toSet()
        files.filter { it.nameWithoutExtension !in clips }.forEach { it.delete() }
    }

    private fun clipAt(wav: File): SavedClip? = try {
        Tags.read(wav).let { SavedClip(wav, it.request, it.bundle) }
    } catch (_: UsageException) {
        null
    }

    /** Names are the time, so that they sort by it. */
    private fun freePlace(): File = generateSequence(System.currentTimeMillis()) { it + 1 }
        .map { File(folder, String.format(Locale.ROOT, "%013d.wav", it)) }
        .first { !it.exists() }

    private fun write(file: File, record: Record) {
        try {
            file.outputStream().buffered().use(record::write)
        } catch (error: IOException) {
            throw OutputException("cannot write $file: ${error.message}; free some space", error)
        }
    }

    companion object {
        const val MOST = 12
        private val NAME = Regex("[0-9]{13}\\.wav")
    }
}

private const val HEADER = 44
private const val FULL_SCALE = 32767f

/** The sound of a WAV as [Clip.save] writes it: 16-bit samples behind a header of 44 bytes; null: it is another. */
private fun audioOf(wav: ByteArray): Audio? {
    if (wav.size < HEADER) return null
    val file = ByteBuffer.wrap(wav).order(ByteOrder.LITTLE_ENDIAN)
    val words = listOf(0, 8, 12, 36).map { String(wav, it, 4, Charsets.ISO_8859_1) }
    val channels = file.getShort(22).toInt()
    val rate = file.getInt(24)
    val bytes = file.getInt(40)
    val isOurs = words == listOf("RIFF", "WAVE", "fmt ", "data") && file.getShort(20) == 1.toShort() &&
        file.getShort(34) == 16.toShort() && channels in 1..2 && rate > 0 && bytes in 0..wav.size - HEADER
    if (!isOurs) return null
    val samples = file.apply { position(HEADER) }.slice().order(ByteOrder.LITTLE_ENDIAN).asShortBuffer()
    val count = bytes / Short.SIZE_BYTES / channels
    val sounds = List(channels) { channel -> FloatArray(count) { samples[it * channels + channel] / FULL_SCALE } }
    return Audio(sounds, rate)
}
