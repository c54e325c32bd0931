package dev.edgeexport.core

import java.io.File
import java.nio.ByteBuffer
import java.nio.ByteOrder
import kotlin.math.abs

internal const val MOST_CHANNELS = 64
internal const val MOST_HZ = 768_000
private const val FULL_SCALE = 32767
private const val PCM: Short = 1
private const val IEEE_FLOAT: Short = 3

/** The samples of a clip of so many seconds: rounded, half to even. */
internal fun samplesIn(seconds: Double, sampleRate: Int): Long = Math.rint(seconds * sampleRate).toLong()

/**
 * A sound: float samples of each channel, full scale -1..1, at [sampleRate] Hz. It knows nothing of how it was made.
 *
 * @throws UsageException there are no channels or too many, they are not equally long, or the rate makes no sense.
 */
public class Audio(public val channels: List<FloatArray>, public val sampleRate: Int) {
    init {
        if (channels.size !in 1..MOST_CHANNELS || channels.any { it.size != channels[0].size }) {
            throw UsageException("the audio is ${channels.map { it.size }}, expected [channels, samples]")
        }
        if (sampleRate !in 1..MOST_HZ) {
            throw UsageException("the sample rate is $sampleRate, expected 1 to $MOST_HZ Hz")
        }
    }

    /** Samples of each channel. */
    public val samples: Int get() = channels[0].size

    /** Its length. */
    public val seconds: Double get() = samples.toDouble() / sampleRate

    /**
     * A WAV file: 16-bit PCM, or 32-bit IEEE float, with [tags] behind the samples.
     *
     * A 16-bit sample is round(x * 32767), half to even, clipped to -32768..32767; no dither, so that equal audio gives
     * equal bytes.
     *
     * @throws GenerationException the audio holds NaN or infinity.
     */
    public fun wav(float32: Boolean = false, tags: Tags? = null): ByteArray =
        wavBytes(float32, tags?.chunk() ?: ByteArray(0))

    /** The same, followed by these RIFF chunks. */
    internal fun wavBytes(float32: Boolean, after: ByteArray): ByteArray {
        if (!channels.all { it.allFinite() }) {
            throw GenerationException("the audio holds NaN or infinity; nothing was written: run `edge-export verify`")
        }
        val width = if (float32) Float.SIZE_BYTES else Short.SIZE_BYTES
        val body = samples.toLong() * channels.size * width
        val size = HEADER + (if (float32) FLOAT_EXTRA else 0) + body + after.size
        if (size > Int.MAX_VALUE - 16) throw OutputException("a WAV of $size bytes is too large; ask for less")
        val file = ByteBuffer.allocate(size.toInt()).order(ByteOrder.LITTLE_ENDIAN)
        file.put("RIFF".toByteArray()).putInt(size.toInt() - RIFF_HEAD).put("WAVE".toByteArray())
        putFormat(file, float32, width)
        file.put("data".toByteArray()).putInt(body.toInt())
        putSamples(file, float32)
        return file.put(after).array()
    }

    private fun putFormat(file: ByteBuffer, float32: Boolean, width: Int) {
        val block = channels.size * width
        file.put("fmt ".toByteArray()).putInt(if (float32) 18 else 16)
        file.putShort(if (float32) IEEE_FLOAT else PCM).putShort(channels.size.toShort())
        file.putInt(sampleRate).putInt(sampleRate * block).putShort(block.toShort()).putShort((8 * width).toShort())
        if (float32) {
            file.putShort(0) // the size of the extension: none
            file.put("fact".toByteArray()).putInt(4).putInt(samples) // required of formats other than PCM
        }
    }

    private fun putSamples(file: ByteBuffer, float32: Boolean) {
        for (place in 0 until samples) {
            for (channel in channels) {
                if (float32) file.putFloat(channel[place]) else file.putShort(level(channel[place]))
            }
        }
    }

    private fun level(sample: Float): Short =
        Math.rint(sample.toDouble() * FULL_SCALE).coerceIn(-FULL_SCALE - 1.0, FULL_SCALE.toDouble()).toInt().toShort()

    private companion object {
        const val RIFF_HEAD = 8
        const val HEADER = 44
        const val FLOAT_EXTRA = 14
    }
}

/**
 * What was written: [samples] of each channel, the largest magnitude (1 is full scale), and what was cut off.
 *
 * @property clipped the samples beyond full scale, over all channels: none in a float file, which keeps them.
 */
public data class WavReport(
    val sha256: String,
    val bytes: Long,
    val sampleRate: Int,
    val channels: Int,
    val samples: Int,
    val peak: Double,
    val clipped: Long,
    val float32: Boolean,
    val finishing: Finishing,
    val tags: Boolean,
    val format: String = "wav",
)

/** The report of [audio], finished, written as [data]. */
internal fun reportOf(audio: Audio, data: ByteArray, float32: Boolean, finishing: Finishing, tags: Boolean): WavReport {
    val magnitudes = audio.channels.asSequence().flatMap { it.asSequence() }.map { abs(it) }
    return WavReport(
        sha256 = sha256Of(data),
        bytes = data.size.toLong(),
        sampleRate = audio.sampleRate,
        channels = audio.channels.size,
        samples = audio.samples,
        peak = (magnitudes.maxOrNull() ?: 0f).toDouble(),
        clipped = if (float32) 0 else magnitudes.count { it > 1 }.toLong(),
        float32 = float32,
        finishing = finishing,
        tags = tags,
    )
}

/** Writes the sound, finished, to [file], which is replaced at once and whole. cut: it ends before the model's clip. */
internal fun Audio.save(file: File, float32: Boolean, finishing: Finishing, tags: Tags?, cut: Boolean): WavReport {
    val made = finished(finishing, cut)
    val data = made.wav(float32, tags)
    replaceFile(file, data)
    return reportOf(made, data, float32, finishing, tags != null)
}
