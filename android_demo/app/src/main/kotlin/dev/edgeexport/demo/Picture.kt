package dev.edgeexport.demo

import dev.edgeexport.core.Audio
import kotlin.math.PI
import kotlin.math.cos
import kotlin.math.log10
import kotlin.math.pow
import kotlin.math.sin
import kotlin.math.sqrt

/**
 * What is drawn of a sound of [frames]: in [COLUMNS] columns, of which the first [done] are known.
 *
 * @property lows the least sample of each column, and [highs] the largest.
 * @property levels of [BANDS] bands in each column, the lowest first: 0 for silence to 1 for full scale.
 */
internal class Picture(
    val frames: Int,
    val sampleRate: Int,
    val done: Int,
    val lows: FloatArray,
    val highs: FloatArray,
    val levels: FloatArray,
) {
    /** As far as it goes. */
    val seconds: Double get() = frames.toDouble() / sampleRate * done / COLUMNS

    companion object {
        const val COLUMNS = 240
        const val BANDS = 64
    }
}

/** Draws up the picture of a sound of [frames] while its pieces come. It knows no view. One thread at a time. */
internal class Sketcher(private val frames: Int, private val sampleRate: Int) {
    private val mono = FloatArray(frames)
    private val spectrum = Spectrum(sampleRate)
    private val lows = FloatArray(Picture.COLUMNS)
    private val highs = FloatArray(Picture.COLUMNS)
    private val levels = FloatArray(Picture.COLUMNS * Picture.BANDS)
    private var known = 0
    private var done = 0

    /** The picture with the next piece in it. */
    fun add(piece: Audio): Picture {
        val taken = minOf(piece.samples, frames - known)
        for (place in 0 until taken) {
            mono[known + place] = piece.channels.sumOf { it[place].toDouble() }.toFloat() / piece.channels.size
        }
        known += taken
        while (done < Picture.COLUMNS && needed(done) <= known) sketch(done++)
        return Picture(frames, sampleRate, done, lows.copyOf(), highs.copyOf(), levels.copyOf())
    }

    private fun begin(column: Int): Int = (column.toLong() * frames / Picture.COLUMNS).toInt()

    private fun middle(column: Int): Int = (begin(column) + begin(column + 1)) / 2

    private fun needed(column: Int): Int = minOf(frames, maxOf(begin(column + 1), middle(column) + Spectrum.SIZE / 2))

    private fun sketch(column: Int) {
        for (place in begin(column) until begin(column + 1)) {
            lows[column] = minOf(lows[column], mono[place])
            highs[column] = maxOf(highs[column], mono[place])
        }
        spectrum.levels(mono, middle(column) - Spectrum.SIZE / 2)
            .copyInto(levels, destinationOffset = column * Picture.BANDS)
    }
}

/** How loud the bands of a sound are at one moment, by a Fourier transform of [SIZE] samples. */
internal class Spectrum(sampleRate: Int) {
    private val window = FloatArray(SIZE) { (0.5 - 0.5 * cos(2 * PI * it / SIZE)).toFloat() }
    private val real = FloatArray(SIZE)
    private val imaginary = FloatArray(SIZE)

    /** The first bin of each band, and the end of the last: equal ratios of frequency, one bin at least. */
    private val bins = IntArray(Picture.BANDS + 1).also { bins ->
        val top = minOf(HIGHEST_HZ, sampleRate / 2.0)
        for (band in bins.indices) {
            val hertz = LOWEST_HZ * (top / LOWEST_HZ).pow(band.toDouble() / Picture.BANDS)
            bins[band] = (hertz * SIZE / sampleRate).toInt().coerceIn(1, SIZE / 2 - 1)
        }
    }

    /** The levels of [sound] from its frame [first]; around it there is silence. */
    fun levels(sound: FloatArray, first: Int): FloatArray {
        for (place in 0 until SIZE) {
            real[place] = (sound.getOrNull(first + place) ?: 0f) * window[place]
            imaginary[place] = 0f
        }
        transform(real, imaginary)
        return FloatArray(Picture.BANDS) { band ->
            val loudest = (bins[band] until maxOf(bins[band + 1], bins[band] + 1)).maxOf(::magnitude)
            val decibels = 20 * log10(loudest.coerceAtLeast(SILENCE))
            (1 + decibels / RANGE_DB).coerceIn(0.0, 1.0).toFloat()
        }
    }

    /** 1 for a sine of full scale, whose energy the window halves and both signs of its frequency share. */
    private fun magnitude(bin: Int): Double =
        sqrt((real[bin] * real[bin] + imaginary[bin] * imaginary[bin]).toDouble()) * 4 / SIZE

    companion object {
        const val SIZE = 1024
        private const val LOWEST_HZ = 40.0
        private const val HIGHEST_HZ = 16_000.0
        private const val RANGE_DB = 90.0
        private const val SILENCE = 1e-9
    }
}

/** The Fourier transform in place, by halves (Cooley and Tukey); the size is a power of two. */
internal fun transform(real: FloatArray, imaginary: FloatArray) {
    val size = real.size
    reverseBits(real, imaginary)
    var width = 2
    while (width <= size) {
        val half = width / 2
        for (turn in 0 until half) {
            val angle = -2 * PI * turn / width
            val (wr, wi) = cos(angle).toFloat() to sin(angle).toFloat()
            for (even in turn until size step width) {
                val odd = even + half
                val r = real[odd] * wr - imaginary[odd] * wi
                val i = real[odd] * wi + imaginary[odd] * wr
                real[odd] = real[even] - r
                imaginary[odd] = imaginary[even] - i
                real[even] += r
                imaginary[even] += i
            }
        }
        width *= 2
    }
}

private fun reverseBits(real: FloatArray, imaginary: FloatArray) {
    val shift = Integer.numberOfLeadingZeros(real.size) + 1
    for (place in real.indices) {
        val other = Integer.reverse(place) ushr shift
        if (other > place) {
            real[place] = real[other].also { real[other] = real[place] }
            imaginary[place] = imaginary[other].also { imaginary[other] = imaginary[place] }
        }
    }
}
