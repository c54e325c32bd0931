package dev.edgeexport.demo

import android.app.Activity
import android.app.AlertDialog
import android.content.Intent
import android.graphics.Bitmap
import android.graphics.Canvas
import android.net.Uri
import android.view.View
import android.view.ViewGroup
import android.widget.EditText
import android.widget.TextView
import dev.edgeexport.core.GenerationException
import org.junit.Assert.assertEquals
import org.junit.Assert.assertFalse
import org.junit.Assert.assertTrue
import org.junit.Before
import org.junit.Test
import org.junit.runner.RunWith
import org.robolectric.Robolectric
import org.robolectric.RobolectricTestRunner
import org.robolectric.RuntimeEnvironment
import org.robolectric.Shadows.shadowOf
import org.robolectric.android.controller.ActivityController
import org.robolectric.annotation.Config
import org.robolectric.annotation.GraphicsMode
import org.robolectric.shadows.ShadowAlertDialog
import org.robolectric.shadows.ShadowToast
import java.io.File
import java.util.concurrent.CountDownLatch

/** The screen as a user has it: typed into, tapped, rotated, put away, in both languages and themes, at large fonts. */
@RunWith(RobolectricTestRunner::class)
@Config(sdk = [34], application = TestApplication::class, qualifiers = "en-w360dp-h640dp-xhdpi")
@GraphicsMode(GraphicsMode.Mode.NATIVE)
class MainActivityTest {
    private lateinit var controller: ActivityController<MainActivity>
    private val activity get() = controller.get()
    private val state get() = app.model.state.value
    private val isIdle get() = state.work == Work.Idle

    @Before
    fun install() {
        pretendDevice()
        installTinyBundle()
    }

    private fun open() {
        controller = Robolectric.buildActivity(MainActivity::class.java).setup()
        until("the bundle is open") { isIdle && state.bundle != null }
    }

    private fun <V : View> view(id: Int): V = activity.findViewById(id)

    private fun text(id: Int) = view<TextView>(id).text.toString()

    private fun tap(id: Int) = assertTrue(view<View>(id).run { isShown && isEnabled && performClick() })

    private fun generate() {
        view<EditText>(R.id.prompt).setText("rain on a tin roof")
        tap(R.id.generate)
    }

    private fun generateToEnd() {
        generate()
        until("it is done") { isIdle && state.shown != null && state.playedFrame == null }
    }

    /** Holds the first run of the dit until the test lets it go. */
    private fun generateUpToDit(): CountDownLatch {
        val goOn = CountDownLatch(1)
        val reached = CountDownLatch(1)
        app.engine.beforeRun = { role ->
            if (role == "dit") {
                reached.countDown()
                goOn.await()
            }
        }
        generate()
        until("the dit runs") { reached.count == 0L && text(R.id.step) == "1 of 1" }
        return goOn
    }

    private fun everyView(view: View = activity.window.decorView): List<View> =
        listOf(view) + ((view as? ViewGroup)?.children().orEmpty().flatMap(::everyView))

    private fun ViewGroup.children(): List<View> = (0 until childCount).map(::getChildAt)

    @Test
    fun `type, tap generate, and the sound is there to see, play and share`() {
        open()
        assertFalse(view<View>(R.id.sound).isShown)
        generate()
        assertTrue(view<View>(R.id.progress).isShown)
        assertFalse(view<View>(R.id.generate).isEnabled)
        until("it is done") { isIdle && state.shown != null && state.playedFrame == null }
        assertFalse(view<View>(R.id.progress).isShown)
        assertEquals("rain on a tin roof", text(R.id.sound_text))
        assertEquals("Waveform of the first 1.2 seconds", view<View>(R.id.waveform).contentDescription)
        assertEquals(1, view<ViewGroup>(R.id.clips).childCount)
        tap(R.id.play)
        until("it is heard again") { app.heard.size == 2 && state.playedFrame == null }
        tap(R.id.share)
        until("the sheet opens") { shadowOf(activity).peekNextStartedActivity() != null }
        val sheet = shadowOf(activity).nextStartedActivity
        assertEquals(Intent.ACTION_CHOOSER, sheet.action)
        val sent = checkNotNull(sheet.getParcelableExtra(Intent.EXTRA_INTENT, Intent::class.java))
        val uri = checkNotNull(sent.getParcelableExtra(Intent.EXTRA_STREAM, Uri::class.java))
        val shared = File(app.cacheDir, "shared/${uri.lastPathSegment}")
        assertTrue(shared.readBytes().contentEquals(state.clips.single().wav.readBytes()))
    }

    @Test
    fun `cancel ends it, and generate is there again`() {
        open()
        val goOn = generateUpToDit()
        tap(R.id.cancel)
        goOn.countDown()
        until("it has stopped") { isIdle }
        assertTrue(view<View>(R.id.generate).isEnabled)
        assertFalse(view<View>(R.id.interrupted).isShown)
        assertEquals(emptyList<SavedClip>(), state.clips)
    }

    @Test
    fun `rotated in the middle it goes on, and what was typed stays`() {
        open()
        val goOn = generateUpToDit()
        RuntimeEnvironment.setQualifiers("+land")
        controller.configurationChange()
        assertTrue(view<View>(R.id.progress).isShown)
        assertEquals("rain on a tin roof", text(R.id.prompt))
        assertTrue(state.work is Work.Generating)
        goOn.countDown()
        until("it is done") { isIdle && state.clips.size == 1 }
        assertEquals(1, view<ViewGroup>(R.id.clips).childCount)
        assertFalse(view<View>(R.id.interrupted).isShown)
    }

    @Test
    fun `put away in the middle it stops, and back again offers to go on`() {
        open()
        val goOn = generateUpToDit()
        controller.pause().stop()
        goOn.countDown()
        app.engine.beforeRun = {}
        until("it has stopped") { isIdle }
        controller.restart().resume()
        assertTrue(view<View>(R.id.interrupted).isShown)
        assertEquals("rain on a tin roof", text(R.id.interrupted_prompt))
        tap(R.id.go_on)
        until("it is done") { isIdle && state.clips.size == 1 }
        assertFalse(view<View>(R.id.interrupted).isShown)
    }

    @Test
    fun `a problem is a card with what to do, and goes when it is dismissed`() {
        open()
        app.engine.beforeRun = { throw GenerationException("out of luck") }
        generate()
        until("it has failed") { isIdle && state.problems.isNotEmpty() }
        assertEquals("The sound could not be completed", text(R.id.problem_title))
        assertEquals("out of luck", text(R.id.problem_detail))
        tap(R.id.problem_dismiss)
        until("it is gone") { view<ViewGroup>(R.id.problems).childCount == 0 }
    }

    @Test
    fun `a picker that is cancelled changes nothing, and says so`() {
        open()
        tap(R.id.import_bundle)
        val asked = shadowOf(activity).nextStartedActivityForResult
        assertEquals(Intent.ACTION_OPEN_DOCUMENT, asked.intent.action)
        val before = state
        shadowOf(activity).receiveResult(asked.intent, Activity.RESULT_CANCELED, null)
        until("it is said") { ShadowToast.shownToastCount() == 1 }
        assertEquals(before, state)
    }

    @Test
    fun `the record is shared only after it was said that the prompt is in it`() {
        open()
        generateToEnd()
        tap(R.id.share_record)
        val dialog = checkNotNull(ShadowAlertDialog.getLatestAlertDialog())
        assertTrue("prompt" in shadowOf(dialog).message.toString())
        assertEquals(null, shadowOf(activity).peekNextStartedActivity())
        dialog.getButton(AlertDialog.BUTTON_POSITIVE).performClick()
        until("the sheet opens") { shadowOf(activity).peekNextStartedActivity() != null }
    }

    @Test
    fun `the proof fills its table`() {
        open()
        tap(R.id.prove)
        until("it is over") { isIdle && state.checks.orEmpty().isNotEmpty() }
        assertEquals(state.checks.orEmpty().size, view<ViewGroup>(R.id.checks).childCount)
        val row = view<ViewGroup>(R.id.checks).getChildAt(0)
        assertEquals("tokenizer: input_ids, ∞ dB, passed", row.contentDescription)
    }

    @Test
    @Config(qualifiers = "de-w320dp-h480dp-hdpi", fontScale = 2f)
    fun `in German at twice the font on a small screen all can be reached, read and hit`() = everythingCanBeHit()

    @Test
    @Config(qualifiers = "en-w1280dp-h800dp-night-mdpi")
    fun `on a large screen in the dark all can be reached, read and hit`() = everythingCanBeHit()

    @Test
    @Config(qualifiers = "ar-ldrtl-w360dp-h640dp-xhdpi")
    fun `from right to left all can be reached, read and hit`() = everythingCanBeHit()

    private fun everythingCanBeHit() {
        open()
        generateToEnd()
        app.model.report(Problem(ProblemKind.UNSAVED, "some detail"))
        app.model.prove()
        until("the proof is over") { isIdle && state.checks.orEmpty().size > 5 }
        val least = 48 * activity.resources.displayMetrics.density - 1
        val width = activity.window.decorView.width
        val clickable = everyView().filter { it.isClickable && it.isShown }
        assertTrue("${clickable.size}", clickable.size > 15)
        for (view in clickable) {
            val name = runCatching { activity.resources.getResourceEntryName(view.id) }.getOrDefault("$view")
            assertTrue("$name is ${view.width} x ${view.height}", view.width >= least && view.height >= least)
            val words = listOfNotNull((view as? TextView)?.text, (view as? TextView)?.hint, view.contentDescription)
            assertTrue("$name has no label", words.any { it.isNotBlank() })
            if (view.parent.let { it is View && it.id != R.id.suggestions }) {
                val place = IntArray(2).also(view::getLocationInWindow)
                assertTrue("$name sticks out", place[0] >= 0 && place[0] + view.width <= width)
            }
        }
        for (id in listOf(R.id.waveform, R.id.spectrogram)) {
            assertTrue(view<View>(id).contentDescription.isNotBlank())
        }
        val shown = view<View>(R.id.content)
        assertTrue(shown.bottom >= view<View>(R.id.checks).bottom)
        keep("${activity.resources.configuration.locales[0].language}-${width}px")
    }

    @Test
    fun `what is drawn shows the sound, in light and in dark`() {
        for (theme in listOf("notnight", "night")) {
            RuntimeEnvironment.setQualifiers("+$theme")
            open()
            generateToEnd()
            val waveform = view<WaveformView>(R.id.waveform)
            val drawn = Bitmap.createBitmap(waveform.width, waveform.height, Bitmap.Config.ARGB_8888)
            waveform.draw(Canvas(drawn))
            val middle = drawn.getPixel(drawn.width / 2, drawn.height / 2)
            assertEquals(activity.getColor(R.color.wave), middle)
            assertEquals(activity.getColor(R.color.wave_ground), drawn.getPixel(drawn.width / 2, 1))
            keep(theme)
            controller.pause().stop().destroy()
        }
    }

    /** A picture of the screen for whoever asks for it by -Dedge.screenshots=FOLDER: the whole of it, unrolled. */
    private fun keep(name: String) {
        val folder = System.getProperty("edge.screenshots") ?: return
        val view = view<View>(R.id.content)
        val bitmap = Bitmap.createBitmap(view.width, view.height, Bitmap.Config.ARGB_8888)
        Canvas(bitmap).apply { drawColor(activity.getColor(R.color.ground)) }.also(view::draw)
        File(folder).mkdirs()
        File(folder, "$name.png").outputStream().use { bitmap.compress(Bitmap.CompressFormat.PNG, 100, it) }
    }
}
