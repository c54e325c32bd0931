package dev.edgeexport.demo

import android.content.Context
import android.content.res.Configuration
import android.graphics.Color
import android.view.View
import android.widget.Button
import org.junit.Assert.assertEquals
import org.junit.Assert.assertNotEquals
import org.junit.Assert.assertTrue
import org.junit.Test
import org.junit.runner.RunWith
import org.robolectric.RobolectricTestRunner
import org.robolectric.RuntimeEnvironment
import org.robolectric.annotation.Config
import java.util.Locale
import kotlin.math.pow

/** Names and signs, which are the same in every language. */
private val SAME = setOf("app_name", "sound_length", "check_tensor", "check_snr", "check_exact")

/** Every text is there in both languages, every pair of colours can be read, and rows wrap as they should. */
@RunWith(RobolectricTestRunner::class)
@Config(sdk = [34])
class ResourcesTest {
    private val context: Context get() = RuntimeEnvironment.getApplication()

    private fun inLanguage(language: String): Context {
        val changed = Configuration(context.resources.configuration)
        changed.setLocale(Locale.forLanguageTag(language))
        return context.createConfigurationContext(changed)
    }

    private fun inNight(isNight: Boolean): Context {
        val changed = Configuration(context.resources.configuration)
        val night = if (isNight) Configuration.UI_MODE_NIGHT_YES else Configuration.UI_MODE_NIGHT_NO
        changed.uiMode = changed.uiMode and Configuration.UI_MODE_NIGHT_MASK.inv() or night
        return context.createConfigurationContext(changed)
    }

    private fun idsOf(kind: Class<*>): Map<String, Int> = kind.declaredFields.associate { it.name to it.getInt(null) }

    @Test
    fun `every text is in both languages, with the same places for numbers`() {
        val (english, german) = listOf("en", "de").map { inLanguage(it).resources }
        val places = Regex("%[0-9]?\\$?[.0-9]*[sdf]")
        fun places(text: String) = places.findAll(text).map { it.value }.toSet()
        val strings = idsOf(R.string::class.java)
        assertTrue(strings.size > 60)
        for ((name, id) in strings) {
            val (ours, theirs) = english.getString(id) to german.getString(id)
            if (name in SAME) assertEquals(name, ours, theirs) else assertNotEquals(name, ours, theirs)
            assertEquals(name, places(ours), places(theirs))
        }
        for ((name, id) in idsOf(R.plurals::class.java)) {
            for (count in 1..2) {
                val (ours, theirs) = listOf(english, german).map { it.getQuantityText(id, count).toString() }
                assertNotEquals(name, ours, theirs)
                assertEquals(name, places(ours), places(theirs))
            }
        }
    }

    @Test
    fun `every text can be read on its ground, in light and in dark`() {
        val pairs = listOf(
            R.color.text to R.color.ground,
            R.color.text to R.color.surface,
            R.color.text_quiet to R.color.ground,
            R.color.text_quiet to R.color.surface,
            R.color.accent to R.color.surface,
            R.color.on_accent to R.color.accent,
            R.color.problem to R.color.surface,
        )
        for (isNight in listOf(false, true)) {
            val colors = inNight(isNight)
            for ((text, ground) in pairs) {
                val found = contrast(colors.getColor(text), colors.getColor(ground))
                val names = listOf(text, ground).map(colors.resources::getResourceEntryName)
                assertTrue("$names, night $isNight: $found", found >= 4.5)
            }
            val wave = contrast(colors.getColor(R.color.wave), colors.getColor(R.color.wave_ground))
            assertTrue("$wave", wave >= 3)
        }
        assertNotEquals(inNight(true).getColor(R.color.text), inNight(false).getColor(R.color.text))
    }

    /** Of WCAG 2: from 1 to 21. */
    private fun contrast(one: Int, other: Int): Double {
        val (dark, light) = listOf(luminance(one), luminance(other)).sorted()
        return (light + 0.05) / (dark + 0.05)
    }

    private fun luminance(color: Int): Double {
        fun linear(part: Int) =
            (part / 255.0).let { if (it <= 0.04045) it / 12.92 else ((it + 0.055) / 1.055).pow(2.4) }
        return 0.2126 * linear(Color.red(color)) + 0.7152 * linear(Color.green(color)) +
            0.0722 * linear(Color.blue(color))
    }

    @Test
    fun `a row wraps where it is full, from left to right and from right to left`() {
        for (direction in listOf(View.LAYOUT_DIRECTION_LTR, View.LAYOUT_DIRECTION_RTL)) {
            val row = FlowLayout(context).apply { layoutDirection = direction }
            repeat(3) { row.addView(Button(context), 100, 50) }
            val width = View.MeasureSpec.makeMeasureSpec(250, View.MeasureSpec.EXACTLY)
            row.measure(width, View.MeasureSpec.makeMeasureSpec(0, View.MeasureSpec.UNSPECIFIED))
            assertEquals(100, row.measuredHeight)
            row.layout(0, 0, 250, 100)
            val places = (0 until 3).map { row.getChildAt(it).run { left to top } }
            val isLtr = direction == View.LAYOUT_DIRECTION_LTR
            val expected = if (isLtr) listOf(0 to 0, 100 to 0, 0 to 50) else listOf(150 to 0, 50 to 0, 150 to 50)
            assertEquals(expected, places)
        }
    }
}
