package dev.edgeexport.demo

import android.net.Uri
import dev.edgeexport.core.GenerationException
import dev.edgeexport.core.Tags
import dev.edgeexport.sdk.CrashNote
import org.junit.Assert.assertArrayEquals
import org.junit.Assert.assertEquals
import org.junit.Assert.assertFalse
import org.junit.Assert.assertNotEquals
import org.junit.Assert.assertNull
import org.junit.Assert.assertTrue
import org.junit.Before
import org.junit.Test
import org.junit.runner.RunWith
import org.robolectric.RobolectricTestRunner
import org.robolectric.annotation.Config
import java.io.File
import java.util.concurrent.CountDownLatch
import java.util.concurrent.TimeUnit

/** What the screen can do, without the screen: the SDK's own generator over programs of the tests'. */
@RunWith(RobolectricTestRunner::class)
@Config(sdk = [34], application = TestApplication::class)
class MainModelTest {
    private val model get() = app.model
    private val state get() = model.state.value
    private val isIdle get() = state.work == Work.Idle

    @Before
    fun install() {
        pretendDevice()
        installTinyBundle()
    }

    private fun start() {
        model.start()
        until("the bundle is open") { isIdle && state.bundle != null }
    }

    private fun generate(prompt: String = "rain on a tin roof", seconds: Double = 1.0) {
        model.edit { copy(prompt = prompt, seconds = seconds, steps = 3) }
        model.generate()
    }

    /** Generates, and holds the run that is the first of [role] until the test lets it go. */
    private fun generateUpTo(role: String): CountDownLatch {
        val reached = CountDownLatch(1)
        val goOn = CountDownLatch(1)
        app.engine.beforeRun = {
            if (it == role) {
                reached.countDown()
                goOn.await(60, TimeUnit.SECONDS)
            }
        }
        generate()
        until("the $role runs") { reached.count == 0L }
        return goOn
    }

    private fun kinds() = state.problems.map { it.kind }

    @Test
    fun `a sound is generated, drawn, heard and kept`() {
        start()
        assertEquals("tiny", state.bundle?.model)
        generate()
        assertTrue(state.work is Work.Generating)
        until("it is done") { isIdle && state.shown != null && state.playedFrame == null }
        val clip = state.clips.single()
        assertEquals(clip, state.shown)
        assertEquals(state.draft.request(), Tags.read(clip.wav).request)
        assertTrue(clip.record.length() > 0)
        assertEquals(Picture.COLUMNS, state.picture?.done)
        assertEquals(listOf(44_100), app.heard)
        assertEquals(emptyList<Problem>(), state.problems)
        assertTrue(checkNotNull(state.secondsExpected) >= 0)
    }

    @Test
    fun `the seed is another each time, until it is locked, and again asks for the very same`() {
        start()
        val seeds = List(3) { round ->
            if (round == 2) model.edit { copy(seedLocked = true) }
            generate()
            until("sound $round is done") { isIdle && state.clips.size == round + 1 }
            state.draft.seed
        }
        assertNotEquals(seeds[0], seeds[1])
        assertEquals(seeds[1], seeds[2])
        val (locked, free) = state.clips.map { it.wav.readBytes() }
        assertArrayEquals(free, locked)
        model.again(state.clips.last())
        assertEquals(seeds[0], state.draft.seed)
        assertTrue(state.draft.seedLocked)
    }

    @Test
    fun `cancelled in the middle it stops after the piece under way, and the next sound is whole`() {
        start()
        val goOn = generateUpTo("dit")
        model.cancel()
        assertEquals(Work.Stopping, state.work)
        goOn.countDown()
        until("it has stopped") { isIdle }
        assertEquals(listOf("conditioner", "dit"), app.engine.runs)
        assertEquals(emptyList<SavedClip>(), state.clips)
        assertEquals(emptyList<Problem>(), state.problems)
        assertNull(CrashNote(app).take())
        generate()
        until("the next is done") { state.clips.size == 1 }
    }

    @Test
    fun `two sounds at once are refused in words, and the first goes on`() {
        start()
        val goOn = generateUpTo("dit")
        val seed = state.draft.seed
        model.generate()
        model.prove()
        assertEquals(listOf(ProblemKind.BUSY), kinds())
        assertEquals(seed, state.draft.seed)
        goOn.countDown()
        until("it is done") { isIdle && state.clips.size == 1 }
    }

    @Test
    fun `put away it stops, and goes on to the same sound when it is back`() {
        start()
        model.edit { copy(seed = 7, seedLocked = true) }
        generate()
        until("a sound to compare is done") { isIdle && state.clips.size == 1 }
        val goOn = generateUpTo("decoder")
        model.putAway()
        goOn.countDown()
        app.engine.beforeRun = {}
        until("it has stopped") { isIdle }
        assertEquals(1, state.clips.size)
        assertEquals(7L, state.interrupted?.seed)
        assertEquals(state.interrupted, Settings(app).draft("interrupted"))
        model.goOn()
        until("it is done") { isIdle && state.clips.size == 2 }
        assertNull(state.interrupted)
        assertArrayEquals(state.clips[0].wav.readBytes(), state.clips[1].wav.readBytes())
    }

    @Test
    fun `what was interrupted when the process ended is offered by the next`() {
        Settings(app).keep("interrupted", Draft(prompt = "wind", seconds = 0.5, seed = 3, seedLocked = true, steps = 2))
        start()
        assertEquals("wind", state.interrupted?.prompt)
        model.goOn()
        until("it is done") { isIdle && state.clips.size == 1 }
        assertEquals(3L, state.clips.single().request.seed)
        assertNull(Settings(app).draft("interrupted"))
    }

    @Test
    fun `a process that died in native code is mentioned once`() {
        File(app.noBackupFilesDir, "edge-export-running").apply { parentFile?.mkdirs() }.writeText("dit")
        start()
        until("it is mentioned") { kinds() == listOf(ProblemKind.ENDED) }
        assertEquals("dit", state.problems.single().detail)
        assertNull(CrashNote(app).take())
    }

    @Test
    fun `where the disk is full the clip waits until there is room`() {
        start()
        val place = File(app.filesDir, "clips").apply {
            deleteRecursively()
            writeText("in the way, as a full disk is")
        }
        generate()
        until("the problem is shown") { isIdle && kinds() == listOf(ProblemKind.UNSAVED) }
        assertEquals(emptyList<SavedClip>(), state.clips)
        place.delete()
        model.clips.keepAgain()
        until("it is kept") { isIdle && state.clips.size == 1 }
        assertEquals(emptyList<ProblemKind>(), kinds())
        assertEquals(state.draft.seed, state.clips.single().request.seed)
    }

    @Test
    fun `what cannot be asked for is a card, and nothing is run`() {
        start()
        val tooLong = "x".repeat(100_001)
        for ((prompt, seconds) in listOf("" to 1.0, "rain" to 99.0, tooLong to 1.0)) {
            generate(prompt, seconds)
            until("it is refused") { isIdle && kinds() == listOf(ProblemKind.REQUEST) }
            model.dismiss(state.problems.single())
        }
        assertEquals(emptyList<String>(), app.engine.runs)
    }

    @Test
    fun `a prompt of ten thousand characters is played, and what is not read is counted`() {
        start()
        generate("rain on a tin roof ".repeat(530))
        until("it is done") { isIdle && state.clips.size == 1 }
        assertTrue("${state.dropped}", state.dropped > 1_000)
    }

    @Test
    fun `a program that fails is a card, and the app goes on`() {
        start()
        app.engine.beforeRun = { throw GenerationException("$it: out of luck") }
        generate()
        until("it has failed") { isIdle && kinds() == listOf(ProblemKind.GENERATION) }
        app.engine.beforeRun = {}
        generate()
        until("the next is done") { isIdle && state.clips.size == 1 }
        assertEquals(emptyList<ProblemKind>(), kinds())
    }

    @Test
    fun `a bad zip is refused and the model stays, a good one takes its place`() {
        start()
        val before = state.bundle
        val cut = zipOfBundle(File(app.cacheDir, "cut.zip")) { name, data -> data.takeIf { name != "dit.pte" } }
        val old = zipOfBundle(File(app.cacheDir, "old.zip")) { name, data ->
            if (name != "manifest.json") return@zipOfBundle data
            String(data).replace("\"schema_version\": 5", "\"schema_version\": 4").toByteArray()
        }
        val none = File(app.cacheDir, "none.zip")
        val bad = listOf(cut to ProblemKind.BUNDLE, old to ProblemKind.OUTDATED, none to ProblemKind.BUNDLE)
        for ((zip, kind) in bad) {
            model.bundles.importZip(Uri.fromFile(zip))
            until("${zip.name} is refused") { isIdle && kinds() == listOf(kind) }
            model.dismiss(state.problems.single())
            assertEquals(before, state.bundle)
            assertEquals(1, state.installed.size)
        }
        model.bundles.importZip(Uri.fromFile(zipOfBundle(File(app.cacheDir, "good.zip"))))
        until("it is imported") { isIdle && state.message == Message.IMPORTED }
        assertEquals(emptyList<ProblemKind>(), kinds())
    }

    @Test
    fun `without any bundle there is a card, and importing one helps`() {
        Settings(app).bundle = null
        val folders = File(app.noBackupFilesDir, "edge-export/bundles")
        folders.deleteRecursively()
        model.start()
        until("it is missed") { isIdle && kinds() == listOf(ProblemKind.BUNDLE) }
        model.generate()
        assertTrue(isIdle)
        model.bundles.importZip(Uri.fromFile(zipOfBundle(File(app.cacheDir, "good.zip"))))
        until("it is imported") { isIdle && state.bundle != null }
        assertEquals(emptyList<ProblemKind>(), kinds())
    }

    @Test
    fun `the proof shows each check, what passed and what did not`() {
        start()
        model.prove()
        until("it is over") { isIdle && state.checks.orEmpty().size > 5 }
        val checks = state.checks.orEmpty().associateBy { "${it.stage} ${it.tensor}" }
        assertTrue(checks.getValue("tokenizer input_ids").passed)
        assertTrue(checks.getValue("noise noise").passed)
        assertFalse(checks.getValue("decoder audio").passed)
        assertEquals(80.0, checks.getValue("decoder audio").thresholdDb)
        assertEquals(emptyList<ProblemKind>(), kinds())
    }

    @Test
    fun `put away while it proves, nothing is left of half a proof`() {
        start()
        val reached = CountDownLatch(1)
        val goOn = CountDownLatch(1)
        app.engine.beforeRun = {
            reached.countDown()
            goOn.await(60, TimeUnit.SECONDS)
        }
        model.prove()
        until("a program runs") { reached.count == 0L }
        model.putAway()
        goOn.countDown()
        until("it has stopped") { isIdle }
        assertNull(state.checks)
        assertNull(state.interrupted)
        assertEquals(1, app.engine.runs.size)
    }

    @Test
    fun `a damaged clip is a card, and deleting it leaves nothing`() {
        start()
        generate()
        until("it is done") { isIdle && state.clips.size == 1 && state.playedFrame == null }
        val clip = state.clips.single()
        clip.wav.writeBytes(ByteArray(50))
        model.clips.play(clip)
        until("it is refused") { kinds() == listOf(ProblemKind.REQUEST) }
        model.clips.delete(clip)
        until("it is gone") { state.clips.isEmpty() }
        assertEquals(emptyList<String>(), File(app.filesDir, "clips").list().orEmpty().toList())
        assertNull(state.shown)
    }

    @Test
    fun `when memory is short programs go, and are loaded again`() {
        start()
        generate()
        until("it is done") { isIdle && state.clips.size == 1 }
        assertTrue(app.engine.open > 0)
        model.trimMemory()
        until("they are gone") { app.engine.open == 0 }
        generate()
        until("the next is done") { isIdle && state.clips.size == 2 }
    }
}
