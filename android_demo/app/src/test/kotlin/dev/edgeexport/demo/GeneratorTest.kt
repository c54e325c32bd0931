package dev.edgeexport.demo

import dev.edgeexport.core.Bundle
import dev.edgeexport.core.EdgeExportException
import dev.edgeexport.core.GenerationException
import dev.edgeexport.core.Request
import dev.edgeexport.core.UsageException
import dev.edgeexport.sdk.CrashNote
import dev.edgeexport.sdk.EdgeAudioGenerator
import dev.edgeexport.sdk.GenerationEvent
import dev.edgeexport.sdk.GeneratorState
import kotlinx.coroutines.CoroutineScope
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.SupervisorJob
import kotlinx.coroutines.async
import kotlinx.coroutines.flow.first
import kotlinx.coroutines.flow.toList
import kotlinx.coroutines.launch
import kotlinx.coroutines.runBlocking
import org.junit.Assert.assertEquals
import org.junit.Assert.assertNotNull
import org.junit.Assert.assertNull
import org.junit.Assert.assertThrows
import org.junit.Assert.assertTrue
import org.junit.Before
import org.junit.Test
import org.junit.runner.RunWith
import org.robolectric.RobolectricTestRunner
import org.robolectric.annotation.Config
import java.io.File
import java.util.concurrent.CountDownLatch

private val REQUEST = Request("rain on a tin roof", seconds = 1.0, seed = 7, steps = 3)

/** The SDK's generator as an app meets it. */
@RunWith(RobolectricTestRunner::class)
@Config(sdk = [34], application = TestApplication::class)
class GeneratorTest {
    private val engine get() = app.engine
    private val scope = CoroutineScope(SupervisorJob() + Dispatchers.Default)

    @Before
    fun pretend() = pretendDevice()

    private fun open(): EdgeAudioGenerator =
        runBlocking { app.opener.open(Bundle.open(TINY_BUNDLE), threads = 1, label = "") }

    private fun played(generator: EdgeAudioGenerator): List<GenerationEvent> =
        runBlocking { generator.events(REQUEST).toList() }

    private suspend fun EdgeAudioGenerator.rest() = state.first { it == GeneratorState.Ready }

    /** Holds the first run of the dit until it is let go. */
    private fun holdDit(): CountDownLatch {
        val goOn = CountDownLatch(1)
        engine.beforeRun = { if (it == "dit") goOn.await() }
        return goOn
    }

    private suspend fun EdgeAudioGenerator.untilDit() =
        state.first { it is GeneratorState.Generating && it.step?.stage == "conditioner" }

    @Test
    fun `steps and pieces come in their order, and the pieces are the whole`() {
        val events = played(open())
        val steps = events.filterIsInstance<GenerationEvent.Step>().map { "${it.stage} ${it.index} of ${it.count}" }
        assertEquals(listOf("conditioner 1 of 1", "dit 1 of 3", "dit 2 of 3", "dit 3 of 3"), steps.take(4))
        val sounds = events.filterIsInstance<GenerationEvent.Sound>()
        assertEquals(steps.size - 4, sounds.size)
        val clip = (events.last() as GenerationEvent.Done).clip
        assertEquals(clip.audio.samples, sounds.sumOf { it.audio.samples })
        val frames = sounds.runningFold(0) { frame, sound -> frame + sound.audio.samples }
        assertEquals(frames.dropLast(1), sounds.map { it.firstFrame })
        for (channel in clip.audio.channels.indices) {
            val joined = sounds.flatMap { it.audio.channels[channel].toList() }
            assertEquals(clip.audio.channels[channel].toList(), joined)
        }
    }

    @Test
    fun `how long it takes is known after the first sound, and falls to nothing`() {
        val generator = open()
        assertNull(generator.estimate(REQUEST).seconds)
        val first = played(generator).filterIsInstance<GenerationEvent.Step>()
        assertTrue(first.all { it.secondsLeft == null })
        assertNotNull(generator.estimate(REQUEST).seconds)
        val left = played(generator).filterIsInstance<GenerationEvent.Step>().map { checkNotNull(it.secondsLeft) }
        assertEquals(left.sortedDescending(), left)
        assertEquals(0.0, left.last(), 0.0)
    }

    @Test
    fun `cancelled while a program runs, it answers at once and stops after it`() = runBlocking {
        val generator = open()
        val goOn = holdDit()
        val job = scope.launch { generator.events(REQUEST).collect {} }
        generator.untilDit()
        val begun = System.nanoTime()
        job.cancel()
        job.join()
        assertEquals(GeneratorState.Stopping, generator.state.value)
        assertTrue("${System.nanoTime() - begun} ns", System.nanoTime() - begun < 1_000_000_000)
        goOn.countDown()
        generator.rest()
        assertEquals(listOf("conditioner", "dit"), engine.runs)
        assertNull(CrashNote(app).take())
    }

    @Test
    fun `a second sound at once is refused, and the first is whole`() = runBlocking {
        val generator = open()
        val goOn = holdDit()
        val first = scope.async { generator.generate(REQUEST) }
        generator.untilDit()
        assertThrows(UsageException::class.java) { played(generator) }
        goOn.countDown()
        assertEquals(44_100, first.await().audio.samples)
    }

    @Test
    fun `a sound asked for while the one before is stopping waits for it`() = runBlocking {
        val generator = open()
        val goOn = holdDit()
        val cancelled = scope.launch { generator.events(REQUEST).collect {} }
        generator.untilDit()
        cancelled.cancel()
        cancelled.join()
        val next = scope.async { generator.generate(REQUEST) }
        goOn.countDown()
        assertEquals(44_100, next.await().audio.samples)
        assertEquals(GeneratorState.Ready, generator.rest())
    }

    @Test
    fun `closed in the middle it says so, and leaves no program open`() = runBlocking {
        val generator = open()
        val goOn = holdDit()
        val job = scope.async { runCatching { generator.generate(REQUEST) }.exceptionOrNull() }
        generator.untilDit()
        generator.close()
        goOn.countDown()
        assertTrue(job.await() is GenerationException)
        assertThrows(GenerationException::class.java) { played(generator) }
        until("its programs are closed") { engine.open == 0 }
    }

    @Test
    fun `while native code is at work a note says at what`() = runBlocking {
        val generator = open()
        val notes = ArrayList<String>()
        engine.beforeRun = { role -> notes += "$role ${File(app.noBackupFilesDir, "edge-export-running").readText()}" }
        played(generator)
        assertEquals(listOf("conditioner conditioner", "dit dit"), notes.take(2))
        assertNull(CrashNote(app).take())
        engine.beforeRun = { throw GenerationException("out of luck") }
        assertThrows(EdgeExportException::class.java) { played(generator) }
        assertNull(CrashNote(app).take())
    }

    @Test
    fun `programs stay where there is room, and make room where there is not`() {
        val generator = open()
        played(generator)
        assertEquals(4, engine.open)
        played(generator)
        assertEquals(4, engine.open)
        generator.trimMemory()
        until("they are gone") { engine.open == 0 }
        pretendDevice(freeBytes = 0)
        var most = 0
        engine.beforeRun = { most = maxOf(most, engine.open) }
        played(generator)
        assertEquals(0, engine.open)
        assertEquals("the decoder and its tail", 2, most)
    }
}
