package dev.edgeexport.demo

import dev.edgeexport.core.Audio
import org.junit.Assert.assertEquals
import org.junit.Assert.assertTrue
import org.junit.Test
import kotlin.math.PI
import kotlin.math.abs
import kotlin.math.cos
import kotlin.math.sin

/** The picture of a sound is of that sound. */
class PictureTest {
    private val rate = 44_100

    private fun tone(hertz: Double, frames: Int, loud: Float = 1f): Audio =
        Audio(List(2) { FloatArray(frames) { loud * sin(2 * PI * hertz * it / rate).toFloat() } }, rate)

    @Test
    fun `the transform is that of its definition`() {
        val size = 16
        val given = FloatArray(size) { sin(it * 0.7f) + 0.25f * it }
        val real = given.copyOf()
        val imaginary = FloatArray(size)
        transform(real, imaginary)
        for (bin in 0 until size) {
            val expectedReal = (0 until size).sumOf { given[it] * cos(2 * PI * bin * it / size) }
            val expectedImaginary = -(0 until size).sumOf { given[it] * sin(2 * PI * bin * it / size) }
            assertEquals(expectedReal, real[bin].toDouble(), 1e-4)
            assertEquals(expectedImaginary, imaginary[bin].toDouble(), 1e-4)
        }
    }

    @Test
    fun `a tone is one bright line, of its level`() {
        val frames = rate
        for (loud in listOf(1f, 0.1f)) {
            val picture = Sketcher(frames, rate).add(tone(1_000.0, frames, loud))
            assertEquals(Picture.COLUMNS, picture.done)
            val column = Picture.COLUMNS / 2 * Picture.BANDS
            val levels = picture.levels.copyOfRange(column, column + Picture.BANDS)
            val brightest = levels.indices.maxByOrNull { levels[it] }!!
            val hertz = 40 * Math.pow(400.0, brightest.toDouble() / Picture.BANDS)
            assertTrue("$hertz", abs(hertz - 1_000) < 120)
            val expected = 1 + 20 * Math.log10(loud.toDouble()) / 90
            assertEquals(expected, levels[brightest].toDouble(), 0.02)
            assertTrue(levels.first() < levels[brightest] / 2 && levels.last() < levels[brightest] / 2)
            assertEquals(loud, picture.highs[7], 0.02f * loud)
            assertEquals(-loud, picture.lows[7], 0.02f * loud)
        }
    }

    @Test
    fun `piece by piece it becomes the same picture, and never shows what is not there yet`() {
        val frames = 30_001
        val whole = tone(440.0, frames)
        val expected = Sketcher(frames, rate).add(whole)
        val sketcher = Sketcher(frames, rate)
        var place = 0
        var done = 0
        var last: Picture? = null
        while (place < frames) {
            val end = minOf(frames, place + 7_000)
            val picture = sketcher.add(Audio(whole.channels.map { it.copyOfRange(place, end) }, rate))
            assertTrue(picture.done >= done)
            assertTrue(picture.done.toLong() * frames / Picture.COLUMNS <= end)
            done = picture.done
            place = end
            last = picture
        }
        assertTrue(expected.levels.contentEquals(last!!.levels))
        assertTrue(expected.highs.contentEquals(last.highs))
        assertEquals(Picture.COLUMNS, last.done)
    }
}
