package dev.edgeexport.demo

import android.content.Context
import android.util.AttributeSet
import android.view.View
import android.view.ViewGroup

/** Children one after another, in as many rows as they need: at a large font the buttons of a row become several. */
internal class FlowLayout @JvmOverloads constructor(context: Context, attributes: AttributeSet? = null) :
    ViewGroup(context, attributes) {
    override fun onMeasure(widthMeasureSpec: Int, heightMeasureSpec: Int) {
        for (child in shown()) measureChildWithMargins(child, widthMeasureSpec, 0, heightMeasureSpec, 0)
        val most = MeasureSpec.getSize(widthMeasureSpec)
        val height = rows(most - paddingStart - paddingEnd).sumOf(::heightOf) + paddingTop + paddingBottom
        setMeasuredDimension(most, resolveSize(height, heightMeasureSpec))
    }

    override fun onLayout(changed: Boolean, left: Int, top: Int, right: Int, bottom: Int) {
        val isReversed = layoutDirection == LAYOUT_DIRECTION_RTL
        var y = paddingTop
        for (row in rows(width - paddingStart - paddingEnd)) {
            var start = paddingStart
            for (child in row) {
                val margins = child.margins
                val from = start + margins.marginStart
                val x = if (isReversed) width - from - child.measuredWidth else from
                val up = y + margins.topMargin
                child.layout(x, up, x + child.measuredWidth, up + child.measuredHeight)
                start += widthOf(child)
            }
            y += heightOf(row)
        }
    }

    private fun shown(): List<View> = (0 until childCount).map(::getChildAt).filter { it.visibility != GONE }

    /** The children by rows, none wider than [most] unless a child alone is. */
    private fun rows(most: Int): List<List<View>> {
        val rows = ArrayList<ArrayList<View>>()
        var used = 0
        for (child in shown()) {
            val width = widthOf(child)
            if (rows.isEmpty() || used + width > most) {
                rows += ArrayList<View>()
                used = 0
            }
            rows.last() += child
            used += width
        }
        return rows
    }

    private fun widthOf(child: View): Int = child.measuredWidth + child.margins.run { marginStart + marginEnd }

    private fun heightOf(row: List<View>): Int =
        row.maxOf { child -> child.measuredHeight + child.margins.run { topMargin + bottomMargin } }

    private val View.margins get() = layoutParams as MarginLayoutParams

    override fun generateLayoutParams(attributes: AttributeSet): LayoutParams = MarginLayoutParams(context, attributes)

    override fun generateDefaultLayoutParams(): LayoutParams =
        MarginLayoutParams(LayoutParams.WRAP_CONTENT, LayoutParams.WRAP_CONTENT)

    override fun generateLayoutParams(params: LayoutParams): LayoutParams = MarginLayoutParams(params)

    override fun checkLayoutParams(params: LayoutParams): Boolean = params is MarginLayoutParams
}
