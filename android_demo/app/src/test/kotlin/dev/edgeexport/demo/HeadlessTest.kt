package dev.edgeexport.demo

import android.content.Intent
import dev.edgeexport.core.Tags
import dev.edgeexport.core.UsageException
import org.json.JSONObject
import org.junit.Assert.assertEquals
import org.junit.Assert.assertFalse
import org.junit.Assert.assertNull
import org.junit.Assert.assertThrows
import org.junit.Assert.assertTrue
import org.junit.Before
import org.junit.Test
import org.junit.runner.RunWith
import org.robolectric.Robolectric
import org.robolectric.RobolectricTestRunner
import org.robolectric.annotation.Config
import java.io.File

private const val GOOD =
    """{"bundle": "tiny", "request": {"prompt": "rain", "seconds": 1.0, "seed": 7, "steps": 3},
    "threads": 2, "label": "app:serial"}"""

/** Runs by way of adb: a folder with a request becomes one with a sound, its record and an answer. */
@RunWith(RobolectricTestRunner::class)
@Config(sdk = [34], application = TestApplication::class)
class HeadlessTest {
    private val files get() = checkNotNull(app.getExternalFilesDir(null))
    private fun runFolder(run: String) = File(files, "runs/$run").apply { mkdirs() }

    @Before
    fun push() {
        pretendDevice()
        TINY_BUNDLE.copyRecursively(File(files, "bundles/tiny"))
    }

    /** The code and the message of done.json. */
    private fun done(run: String, request: String): Pair<Int, String> {
        val folder = runFolder(run)
        File(folder, "request.json").writeText(request)
        val job = checkNotNull(app.headless.start(run))
        until("$run is done") { job.isCompleted }
        val answer = JSONObject(File(folder, "done.json").readText())
        assertEquals(setOf("code", "message"), answer.keys().asSequence().toSet())
        return answer.getInt("code") to answer.getString("message")
    }

    @Test
    fun `a run writes progress, sound, record and at last the answer`() {
        assertEquals(0 to "", done("run-1", GOOD))
        val folder = runFolder("run-1")
        val names = setOf("request.json", "progress", "x.wav", "record.json", "done.json")
        assertEquals(names, folder.list().orEmpty().toSet())
        val progress = File(folder, "progress").readText()
        val begin = listOf("conditioner 1 of 1", "dit 1 of 3", "dit 2 of 3", "dit 3 of 3", "decoder 1 of ")
        assertTrue(progress, progress.startsWith(begin.joinToString("\n")))
        assertTrue(progress.endsWith("\n"))
        assertEquals(7L, Tags.read(File(folder, "x.wav")).request.seed)
        val record = JSONObject(File(folder, "record.json").readText())
        assertEquals("app:serial", record.getString("label"))
        assertEquals(2, record.getInt("threads"))
        until("its programs are closed") { app.engine.open == 0 }
    }

    @Test
    fun `the same run again begins anew`() {
        assertEquals(0 to "", done("r", GOOD))
        val (code, _) = done("r", "{}")
        assertEquals(2, code)
        assertEquals(setOf("request.json", "done.json"), runFolder("r").list().orEmpty().toSet())
    }

    @Test
    fun `what is wrong is said with the exit code of its kind`() {
        val (usage, empty) = done("a", GOOD.replace("\"rain\"", "\"\""))
        assertEquals(2, usage)
        assertTrue(empty, empty.startsWith("the prompt is empty"))
        val (missing, message) = done("b", GOOD.replace("\"tiny\"", "\"other\""))
        assertEquals(2, missing)
        assertTrue(message, "there is no bundle" in message)
        File(files, "bundles/tiny/dit.pte").delete()
        assertEquals(4, done("c", GOOD).first)
    }

    @Test
    fun `a request of another form is refused with its place`() {
        val cases = listOf(
            GOOD.replace("\"threads\": 2,", "") to "threads is missing",
            GOOD.replace("\"label\"", "\"mark\"") to "mark is not a key of a request",
            GOOD.replace("\"seed\": 7", "\"seed\": 7, \"seed\": 8") to "request.seed comes twice",
            GOOD.replace("\"seed\": 7", "\"seed\": 7.5") to "request.seed is no whole number",
            GOOD.replace("\"seed\": 7", "\"seed\": \"7\"") to "request.seed is no whole number",
            GOOD.replace("\"seconds\": 1.0", "\"seconds\": true") to "a value is no text and no number",
            GOOD.replace("\"tiny\"", "\"../tiny\"") to "bundle is no plain name of a folder",
            GOOD.replace("\"threads\": 2", "\"threads\": 99999999999") to "threads is too large to be true",
            "[]" to "it is no object",
            "$GOOD{}" to "is no JSON",
            GOOD.replace("1.0", "NaN") to "is no JSON",
        )
        val file = File(runFolder("x"), "request.json")
        for ((text, expected) in cases) {
            file.writeText(text)
            val error = assertThrows(text, UsageException::class.java) { HeadlessRequest.read(file) }
            assertTrue("${error.message} of $text", expected in error.message)
        }
        file.writeText(" ".repeat(1 shl 20) + GOOD)
        assertThrows(UsageException::class.java) { HeadlessRequest.read(file) }
    }

    @Test
    fun `nothing is written outside of a run's folder`() {
        File(files, "runs").mkdirs()
        for (run in listOf(null, "", "..", "a/b", "../x", "none", "x".repeat(65))) assertNull(app.headless.start(run))
        assertFalse(File(files, "done.json").exists())
        assertEquals(emptyList<String>(), File(files, "runs").list().orEmpty().toList())
    }

    @Test
    fun `the activity does the run that it is named, and closes`() {
        File(runFolder("r-2"), "request.json").writeText(GOOD)
        val intent = Intent().putExtra("run", "r-2")
        val activity = Robolectric.buildActivity(HeadlessActivity::class.java, intent).setup().get()
        assertFalse(activity.isFinishing)
        until("it closes") { activity.isFinishing }
        assertEquals(0, JSONObject(File(runFolder("r-2"), "done.json").readText()).getInt("code"))
    }
}
