package dev.edgeexport.core

import kotlinx.coroutines.CompletableDeferred
import kotlinx.coroutines.CoroutineStart
import kotlinx.coroutines.asCoroutineDispatcher
import kotlinx.coroutines.coroutineScope
import kotlinx.coroutines.flow.toList
import kotlinx.coroutines.joinAll
import kotlinx.coroutines.launch
import kotlinx.coroutines.runBlocking
import java.io.File
import java.util.concurrent.ConcurrentHashMap
import java.util.concurrent.Executors
import java.util.concurrent.atomic.AtomicInteger

private const val THREADS = 3
private const val WARM_UP = 60
private const val SAMPLE = 10
private const val HEAP_GROWTH = 1L shl 20
private const val NATIVE_GROWTH = 4L shl 20
private val FIRST = Request("warm arpeggios on house beats 120BPM", 1.0, seed = 7)
private val SECOND = Request("rain on a tin roof", 0.5, seed = 1)

private enum class Ending { PLAYED, CANCELLED, CANCELLED_FROM_OUTSIDE, CLOSED, CLOSED_FROM_OUTSIDE }

/**
 * Two generations at once by real programs, round after round: the library, a bundle, how many rounds. A round ends as
 * [Ending] says: after one of the first generation's events, each in its turn, that generation is cancelled or the
 * generator closed, by its collector or by another thread while programs run. What was made until then is what each
 * makes alone; no program stays open, and memory stays as it is.
 */
object SoakReal {
    @JvmStatic
    fun main(words: Array<String>) {
        val engine = EdgeProgram(File(words[0]))
        val bundle = Bundle.open(File(words[1]))
        val heap = ArrayList<Long>()
        val resident = ArrayList<Long>()
        Executors.newFixedThreadPool(THREADS).asCoroutineDispatcher().use { threads ->
            val soak = Soak(bundle, engine)
            for (round in 0 until words[2].toInt()) {
                runBlocking(threads) { soak.round(round) }
                if (round >= WARM_UP && (round + 1) % SAMPLE == 0) {
                    heap += usedHeap()
                    resident += residentBytes()
                }
            }
        }
        println("heap $heap, resident $resident")
        check(growth(heap) < HEAP_GROWTH) { "the heap grows" }
        check(growth(resident) < NATIVE_GROWTH) { "the process grows" }
    }

    /** From the first half to the second, of the least: what the allocator holds back comes and goes. */
    private fun growth(samples: List<Long>): Long {
        val half = samples.size / 2
        return samples.drop(half).min() - samples.take(half).min()
    }

    private fun usedHeap(): Long {
        repeat(2) { System.gc() }
        return Runtime.getRuntime().run { totalMemory() - freeMemory() }
    }

    private fun residentBytes(): Long {
        val line = File("/proc/self/status").readLines().first { it.startsWith("VmRSS:") }
        return line.filter { it.isDigit() }.toLong() shl 10
    }
}

private class Soak(private val bundle: Bundle, private val real: Engine) {
    private val open = ConcurrentHashMap.newKeySet<Program>()
    private val alone = generator(keepLoaded = true).use { generator ->
        runBlocking { listOf(FIRST, SECOND).associateWith { generator.events(it).toList() } }
    }

    private fun generator(keepLoaded: Boolean): Generator {
        val counting = object : Engine by real {
            override fun open(program: ProgramFile, options: ProgramOptions) = counted(real.open(program, options))
        }
        return Generator(bundle, counting, keepLoaded = keepLoaded)
    }

    private fun counted(program: Program): Program = object : Program by program {
        override fun close() {
            program.close()
            open -= program
        }
    }.also { open += program }

    suspend fun round(number: Int) {
        val sweep = number / Ending.entries.size
        val ending = Ending.entries[number % Ending.entries.size]
        val at = 1 + sweep % alone.getValue(FIRST).size
        generator(keepLoaded = sweep % 2 == 0).use { play(it, ending, at) }
        check(open.isEmpty()) { "${open.size} programs are open after round $number, $ending at $at" }
    }

    private suspend fun play(generator: Generator, ending: Ending, at: Int) = coroutineScope {
        val made = listOf(FIRST, SECOND).associateWith { AtomicInteger() }
        val reached = CompletableDeferred<Unit>()
        var end: () -> Unit = {}
        val first = launch(start = CoroutineStart.LAZY) {
            collect(generator, FIRST, ending, made) { count ->
                if (count != at) return@collect
                if (ending == Ending.CANCELLED || ending == Ending.CLOSED) end()
                reached.complete(Unit)
            }
        }
        end = if (ending == Ending.CLOSED || ending == Ending.CLOSED_FROM_OUTSIDE) generator::close else first::cancel
        val second = launch { collect(generator, SECOND, ending, made) {} }
        first.start()
        reached.await()
        if (ending == Ending.CANCELLED_FROM_OUTSIDE || ending == Ending.CLOSED_FROM_OUTSIDE) end()
        joinAll(first, second)
        checkCounts(made.mapValues { it.value.get() }, ending, at)
    }

    /** Counts the events, each of which is what it is alone; a closed generator says that it is closed. */
    private suspend fun collect(
        generator: Generator,
        request: Request,
        ending: Ending,
        made: Map<Request, AtomicInteger>,
        onEvent: (Int) -> Unit,
    ) = try {
        generator.events(request).collect {
            val count = made.getValue(request).incrementAndGet()
            val expected = alone.getValue(request)[count - 1]
            check("$it" == "$expected" && same(it.tensors, expected.tensors)) { "$it of $request is another, $ending" }
            onEvent(count)
        }
    } catch (error: GenerationException) {
        val closed = ending == Ending.CLOSED || ending == Ending.CLOSED_FROM_OUTSIDE
        check(closed && error.message == "the generator of ${bundle.folder} is closed; load the bundle again") { error }
    }

    private fun same(found: Tensors, expected: Tensors) = found.keys == expected.keys &&
        found.all { (name, tensor) -> tensor.view() == expected.getValue(name).view() }

    private fun checkCounts(made: Map<Request, Int>, ending: Ending, at: Int) {
        val first = made.getValue(FIRST)
        val second = made.getValue(SECOND)
        val all = alone.mapValues { it.value.size }
        when (ending) {
            Ending.PLAYED -> check(made == all) { "$made of $all events" }

            Ending.CANCELLED, Ending.CANCELLED_FROM_OUTSIDE -> {
                check(second == all.getValue(SECOND)) { "$second events beside one that was cancelled" }
                check(first == at || ending == Ending.CANCELLED_FROM_OUTSIDE) { "$first events, cancelled at $at" }
            }

            Ending.CLOSED -> check(first == at) { "$first events, closed at $at" }

            Ending.CLOSED_FROM_OUTSIDE -> check(first >= at) { "$first events, closed after $at" }
        }
    }
}
