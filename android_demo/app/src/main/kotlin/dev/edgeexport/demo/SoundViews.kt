package dev.edgeexport.demo

import android.content.Context
import android.graphics.Bitmap
import android.graphics.Canvas
import android.graphics.Color
import android.graphics.Paint
import android.graphics.Rect
import android.util.AttributeSet
import android.view.View
import kotlin.math.roundToInt

// Pictures of a sound, as far as it goes, with a line where it is heard. Time runs to the right in every language.

/** A view of a [Picture]; [draw] is what its kinds differ in. */
internal abstract class SoundView(context: Context, attributes: AttributeSet?) : View(context, attributes) {
    private val playhead = Paint().apply {
        color = context.getColor(R.color.playhead)
        strokeWidth = 2 * resources.displayMetrics.density
    }

    /** What is drawn. */
    var picture: Picture? = null
        set(value) {
            if (field === value) return
            field = value
            changed(value)
            invalidate()
        }

    /** The frame at the loudspeaker; null while nothing plays. */
    var playedFrame: Int? = null
        set(value) {
            if (field == value) return
            field = value
            invalidate()
        }

    override fun onDraw(canvas: Canvas) {
        super.onDraw(canvas)
        val picture = picture ?: return
        draw(canvas, picture)
        playedFrame?.let {
            val x = width * it.toFloat() / picture.frames
            canvas.drawLine(x, 0f, x, height.toFloat(), playhead)
        }
    }

    protected open fun changed(picture: Picture?) = Unit

    protected abstract fun draw(canvas: Canvas, picture: Picture)
}

/** The least and the largest sample of each column. */
internal class WaveformView @JvmOverloads constructor(context: Context, attributes: AttributeSet? = null) :
    SoundView(context, attributes) {
    private val paint = Paint().apply { color = context.getColor(R.color.wave) }
    private val ground = context.getColor(R.color.wave_ground)
    private val thinnest = resources.displayMetrics.density

    override fun draw(canvas: Canvas, picture: Picture) {
        canvas.drawColor(ground)
        val middle = height / 2f
        val step = width.toFloat() / Picture.COLUMNS
        for (column in 0 until picture.done) {
            val top = middle - middle * picture.highs[column].coerceAtMost(1f)
            val bottom = middle - middle * picture.lows[column].coerceAtLeast(-1f)
            canvas.drawRect(column * step, top, (column + 1) * step, maxOf(bottom, top + thinnest), paint)
        }
    }
}

/** How loud each band is in each column, the lowest at the bottom. */
internal class SpectrogramView @JvmOverloads constructor(context: Context, attributes: AttributeSet? = null) :
    SoundView(context, attributes) {
    private val bitmap = Bitmap.createBitmap(Picture.COLUMNS, Picture.BANDS, Bitmap.Config.ARGB_8888)
    private val paint = Paint(Paint.FILTER_BITMAP_FLAG)
    private val place = Rect()
    private val colors = IntArray(SHADES) { shade(it / (SHADES - 1f)) }
    private val pixels = IntArray(Picture.COLUMNS * Picture.BANDS)

    override fun changed(picture: Picture?) {
        val levels = picture?.levels ?: return
        for (column in 0 until Picture.COLUMNS) {
            for (band in 0 until Picture.BANDS) {
                val level = levels[column * Picture.BANDS + band]
                pixels[(Picture.BANDS - 1 - band) * Picture.COLUMNS + column] =
                    colors[(level * (SHADES - 1)).roundToInt()]
            }
        }
        bitmap.setPixels(pixels, 0, Picture.COLUMNS, 0, 0, Picture.COLUMNS, Picture.BANDS)
    }

    override fun draw(canvas: Canvas, picture: Picture) {
        place.set(0, 0, width, height)
        canvas.drawBitmap(bitmap, null, place, paint)
    }

    private fun shade(level: Float): Int {
        val (ground, middle, peak) =
            listOf(R.color.spectrum_ground, R.color.spectrum_middle, R.color.spectrum_peak).map(context::getColor)
        return if (level < HALF) mixed(ground, middle, level / HALF) else mixed(middle, peak, (level - HALF) / HALF)
    }

    private fun mixed(from: Int, to: Int, share: Float): Int {
        fun part(channel: (Int) -> Int) = (channel(from) + (channel(to) - channel(from)) * share).roundToInt()
        return Color.rgb(part(Color::red), part(Color::green), part(Color::blue))
    }

    private companion object {
        const val SHADES = 256
        const val HALF = 0.5f
    }
}
