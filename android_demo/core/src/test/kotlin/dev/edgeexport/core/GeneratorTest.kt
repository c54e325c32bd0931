package dev.edgeexport.core

import kotlinx.coroutines.CancellationException
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.async
import kotlinx.coroutines.awaitAll
import kotlinx.coroutines.flow.collect
import kotlinx.coroutines.flow.flowOn
import kotlinx.coroutines.flow.take
import kotlinx.coroutines.flow.toList
import kotlinx.coroutines.joinAll
import kotlinx.coroutines.launch
import kotlinx.coroutines.runBlocking
import kotlinx.coroutines.withContext
import org.junit.jupiter.api.Assertions.assertArrayEquals
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertFalse
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.Test
import org.junit.jupiter.api.assertThrows
import org.junit.jupiter.api.io.TempDir
import java.io.ByteArrayOutputStream
import java.io.File
import java.util.concurrent.atomic.AtomicInteger

private val REQUEST = Request("warm arpeggios on house beats 120BPM", seconds = 1.0, seed = 7, steps = 3)
private val OTHER = REQUEST.copy(prompt = "rain on a tin roof", seed = 8)
private val EVENTS = listOf("conditioner") + List(3) { "dit" } + List(4) { "decoder" }

/** The programs that run for each event: of three windows, the first's features are of two tiles. */
private val RUNS = listOf(listOf("conditioner")) + List(3) { listOf("dit") } +
    listOf(listOf("decoder", "decoder_tail"), listOf("decoder_tail")) + List(2) { listOf("decoder", "decoder_tail") }

private fun StandIn.runs() = log.filter { it.startsWith("run") }.map { it.removePrefix("run ") }

/** Events come in the order of the data; cancelling and closing leave nothing open; what is not sound is refused. */
class GeneratorTest {
    private fun samples(clip: Clip): List<List<Float>> = clip.audio.channels.map { it.toList() }

    @Test
    fun `events follow the data, and each piece of sound is there before the next is made`() = runBlocking {
        val (generator, engine) = standIn(keepLoaded = false)
        val events = ArrayList<String>()
        generator.events(REQUEST).collect {
            events += "$it"
            assertEquals(RUNS.take(events.size).flatten(), engine.runs())
        }
        val expected = EVENTS.groupBy { it }
            .flatMap { (stage, all) -> all.indices.map { "$stage ${it + 1} of ${all.size}" } }
        assertEquals(expected, events)
    }

    @Test
    fun `a stage is let go before the next is loaded`() = runBlocking {
        val (generator, engine) = standIn(keepLoaded = false)
        generator.events(REQUEST).collect()
        val expected = listOf(
            listOf("open conditioner", "run conditioner", "close conditioner"),
            listOf("open dit", "run dit", "run dit", "run dit", "close dit"),
            listOf("open decoder", "run decoder", "open decoder_tail", "run decoder_tail", "run decoder_tail"),
            listOf("run decoder", "run decoder_tail", "run decoder", "run decoder_tail"),
            listOf("close decoder", "close decoder_tail"),
        )
        assertEquals(expected.flatten(), engine.log)
    }

    @Test
    fun `kept programs are loaded once, and closed with the generator`() = runBlocking {
        val (generator, engine) = standIn()
        generator.generate(REQUEST)
        generator.generate(OTHER)
        assertEquals(listOf(4, 0), listOf(engine.opened, engine.closed))
        generator.close()
        generator.close()
        assertEquals(4, engine.closed)
    }

    @Test
    fun `another seed of the same prompt begins with the dit, and gives what it gives alone`() = runBlocking {
        val (generator, engine) = standIn()
        generator.generate(REQUEST)
        val again = REQUEST.copy(seed = 8)
        assertEquals("dit, step 1 of 3", generator.pieces(again).first())
        val made = generator.generate(again)
        assertEquals(1, engine.log.count { it == "run conditioner" })
        assertFalse("conditioner" in made.times)
        assertEquals(samples(standIn().first.generate(again)), samples(made))
        generator.generate(again.copy(seconds = 0.5))
        assertEquals(2, engine.log.count { it == "run conditioner" })
    }

    @Test
    fun `cancelling at any event closes what is open and makes no more`() = runBlocking {
        for (keepLoaded in listOf(true, false)) {
            for (count in 1..EVENTS.size) {
                val (generator, engine) = standIn(keepLoaded = keepLoaded)
                assertEquals(count, generator.events(REQUEST).take(count).toList().size)
                assertEquals(RUNS.take(count).flatten(), engine.runs())
                if (!keepLoaded) assertEquals(engine.opened, engine.closed)
                generator.generate(REQUEST)
                generator.close()
                assertEquals(engine.opened, engine.closed)
            }
        }
    }

    @Test
    fun `a cancelled coroutine ends after the piece of work under way`() = runBlocking {
        for (count in 1 until EVENTS.size) {
            val (generator, engine) = standIn(keepLoaded = false)
            var done = 0
            val job = launch(Dispatchers.Default) {
                generator.events(REQUEST).collect { if (++done == count) throw CancellationException("enough") }
            }
            job.join()
            assertTrue(job.isCancelled)
            assertEquals(RUNS.take(count).flatten(), engine.runs())
            assertEquals(engine.opened, engine.closed)
        }
    }

    @Test
    fun `cancelling from another thread while a program runs is noticed at its end`() = runBlocking {
        val (generator, engine) = standIn(keepLoaded = false)
        var stop: () -> Unit = {}
        engine.beforeRun = { role -> if (role == "dit") stop() }
        val job = launch(Dispatchers.Default, start = kotlinx.coroutines.CoroutineStart.LAZY) {
            generator.events(REQUEST).flowOn(Dispatchers.IO).collect()
        }
        stop = { job.cancel() }
        job.join()
        assertEquals(listOf("run conditioner", "run dit"), engine.log.filter { it.startsWith("run") })
        assertEquals(engine.opened, engine.closed)
    }

    @Test
    fun `numbers that are no sound are refused by name`() = runBlocking {
        for ((role, message) in listOf(
            "dit" to "the dit returned NaN or infinity in step 1",
            "decoder" to "the decoder returned NaN",
            "decoder_tail" to "the decoder returned NaN",
        )) {
            for (bad in listOf(Float.NaN, Float.POSITIVE_INFINITY)) {
                val (generator, engine) = standIn(keepLoaded = false)
                engine.spoil =
                    { at, outputs -> if (at == role) outputs.mapValues { spoiled(it.value, bad) } else outputs }
                val error = assertThrows<GenerationException> { runBlocking { generator.generate(REQUEST) } }
                assertTrue(error.message.startsWith(message), error.message)
                assertEquals(engine.opened, engine.closed)
            }
        }
    }

    private fun spoiled(tensor: Tensor, bad: Float): Tensor = Tensor.of(
        tensor.shape,
        tensor.toFloatArray().also {
            it[0] =
                bad
        },
    )

    @Test
    fun `a program that makes other tensors than the manifest says is refused`() {
        val (generator, engine) = standIn()
        engine.spoil = { role, outputs -> if (role == "dit") mapOf("noise" to outputs.values.first()) else outputs }
        val error = assertThrows<GenerationException> { runBlocking { generator.generate(REQUEST) } }
        assertEquals("dit: outputs are ['velocity']; these do not match: ['noise', 'velocity']", error.message)
        engine.spoil = { role, outputs ->
            if (role == "dit") mapOf("velocity" to Tensor.of(listOf(1L, 1L), floatArrayOf(0f))) else outputs
        }
        val other = assertThrows<GenerationException> { runBlocking { generator.generate(REQUEST) } }
        assertEquals("dit: velocity is float32[1, 1], expected float32[1, 64, 26]", other.message)
    }

    @Test
    fun `two at once give what each gives alone, and never run two programs at a time`() = runBlocking {
        val alone = listOf(REQUEST, OTHER).map { samples(standIn().first.generate(it)) }
        val (generator, engine) = standIn()
        val running = AtomicInteger()
        engine.beforeRun = {
            assertEquals(1, running.incrementAndGet())
            Thread.sleep(1)
            running.decrementAndGet()
        }
        repeat(5) {
            val made = listOf(REQUEST, OTHER).map {
                async(Dispatchers.IO) { samples(generator.generate(it)) }
            }.awaitAll()
            assertEquals(alone, made)
        }
    }

    @Test
    fun `closing while it plays ends the generation with an error, wherever it is`() = runBlocking {
        for (count in 1 until EVENTS.size) {
            val (generator, engine) = standIn()
            var done = 0
            val error = assertThrows<GenerationException> {
                runBlocking { generator.events(REQUEST).collect { if (++done == count) generator.close() } }
            }
            assertEquals("the generator of $TINY_BUNDLE is closed; load the bundle again", error.message)
            assertEquals(RUNS.take(count).flatten(), engine.runs())
            assertEquals(engine.opened, engine.closed)
        }
    }

    @Test
    fun `two hundred rounds of playing, cancelling and closing leave no program open and no memory taken`() =
        runBlocking {
            val bundle = Bundle.open(TINY_BUNDLE)
            val used = ArrayList<Long>()
            repeat(200) { round ->
                val (generator, engine) = standIn(bundle, keepLoaded = round % 2 == 0)
                val jobs = listOf(REQUEST, OTHER).map { request ->
                    launch(Dispatchers.IO) { generator.events(request).take(1 + round % EVENTS.size).collect() }
                }
                jobs.joinAll()
                generator.close()
                assertEquals(engine.opened, engine.closed)
                if (round % 50 == 49) used += usedMemory()
            }
            assertTrue(used.last() < used.first() + (4 shl 20), "$used")
        }

    private fun usedMemory(): Long {
        repeat(3) { System.gc() }
        return Runtime.getRuntime().run { totalMemory() - freeMemory() }
    }

    @Test
    fun `a request out of range is refused before anything is loaded`() {
        val (generator, engine) = standIn()
        for (request in listOf(REQUEST.copy(prompt = "\u200b"), REQUEST.copy(seconds = 9.0), REQUEST.copy(steps = 0))) {
            assertThrows<UsageException> { runBlocking { generator.events(request).collect() } }
        }
        assertEquals(emptyList<String>(), engine.log)
    }

    @Test
    fun `an engine of another backend, and threads out of range, are refused`() {
        val bundle = Bundle.open(TINY_BUNDLE)
        val engine = StandIn(bundle.manifest.generation)
        val litert = object : Engine by engine {
            override val backend = "litert"
        }
        val error = assertThrows<UsageException> { Generator(bundle, litert) }
        assertEquals("no engine called 'executorch'; choose from litert", error.message)
        for (threads in listOf(0, -1, 257)) assertThrows<UsageException> { Generator(bundle, engine, threads) }
    }

    @Test
    fun `the engine is told the threads, and where packed weights are kept`(@TempDir folder: File) {
        val bundle = Bundle.open(TINY_BUNDLE)
        val engine = StandIn(bundle.manifest.generation)
        val alone = Generator(bundle, engine, threads = 3, keepLoaded = false)
        runBlocking { alone.events(REQUEST).take(1).collect() }
        assertEquals(ProgramOptions(threads = 3), engine.asked)
        val kept = Generator(bundle, engine, packedWeights = folder)
        runBlocking { kept.events(REQUEST).take(1).collect() }
        assertEquals(ProgramOptions(Machine.fastCores(), packedWeights = folder), engine.asked)
        assertTrue(kept.estimate(REQUEST).mappedBytes > Generator(bundle, engine).estimate(REQUEST).mappedBytes)
    }

    @Test
    fun `programs that are not in use are let go when memory is short, and loaded again`() = runBlocking {
        val (generator, engine) = standIn()
        val expected = samples(generator.generate(REQUEST))
        val made = generator.generate(OTHER) { if (it.stage == "dit") generator.unload() }
        assertEquals(
            listOf("close conditioner", "close decoder", "close decoder_tail"),
            engine.log.filter {
                "close" in
                    it
            }.sorted(),
        )
        assertEquals(REQUEST.steps, made.times.getValue("dit").runs.size)
        generator.unload()
        assertEquals(engine.opened, engine.closed)
        assertEquals(expected, samples(generator.generate(REQUEST)))
    }

    @Test
    fun `too little memory is refused before anything is loaded`() {
        val needed = Estimate(1_500_000, 500_000)
        refuseLittleMemory(needed, available = null)
        refuseLittleMemory(needed, available = 2_000_000)
        val error = assertThrows<GenerationException> { refuseLittleMemory(needed, available = 1_400_000) }
        assertTrue(error.message.startsWith("this needs 2 MB of memory, 1 MB are free; close other programs"))
    }

    @Test
    fun `a decoder that is one program is played a window at a time`() = runBlocking {
        val spec = onePieceSpec(Bundle.open(TINY_BUNDLE).manifest.generation)
        val engine = StandIn(spec)
        val loop = Loop(spec) { role ->
            val file = ProgramFile(role, File(role), sha256 = "", keptBytes = 0, spec.programs.getValue(role))
            engine.open(file, ProgramOptions(threads = 1))
        }
        val prompt = standIn().first.encode(REQUEST)
        val events = loop.generate(REQUEST, prompt).toList()
        assertEquals(piecesOf(spec, REQUEST, conditioned = false).size, events.size)
        assertEquals(3, engine.log.count { it == "run decoder" })
        val clean = events.last { it.stage == "dit" }.tensors.getValue("clean").toFloatArray()
        val audio = audioOf(events.groupBy { it.stage }).toFloatArray()
        assertEquals(2 * 44100, audio.size)
        val expected = FloatArray(audio.size) { clean[it / 44100 * 26 + it % 44100 / 2048] * 0.25f }
        assertArrayEquals(expected, audio)
    }

    private fun onePieceSpec(spec: GenerationSpec): GenerationSpec {
        val decoder = spec.programs.getValue("decoder")
        val sound = TensorSpec("audio", 0, DType.FLOAT32, listOf(1L, 2L, spec.window.toLong() * spec.latent.hop))
        val programs = spec.programs - "decoder_tail" + ("decoder" to decoder.copy(outputs = listOf(sound)))
        return spec.copy(programs = programs, features = null)
    }

    @Test
    fun `programs run in the collector's context`() = runBlocking {
        val (generator, engine) = standIn()
        val threads = HashSet<String>()
        engine.beforeRun = { threads += Thread.currentThread().name }
        withContext(Dispatchers.Default) { generator.events(REQUEST).flowOn(Dispatchers.IO).collect() }
        assertTrue(threads.all { "Dispatcher" in it }, "$threads")
    }

    @Test
    fun `a deleted bundle plays on from what is loaded, and else is refused`(@TempDir folder: File) {
        val bundle = Bundle.open(copyOfBundle(folder))
        val (generator, _) = standIn(bundle)
        val (other, _) = standIn(bundle, keepLoaded = false)
        val before = runBlocking { generator.generate(REQUEST) }
        bundle.folder.deleteRecursively()
        assertEquals(samples(before), runBlocking { samples(generator.generate(REQUEST)) })
        val error = assertThrows<BundleException> { runBlocking { other.generate(REQUEST) } }
        val missing = "is missing, the manifest lists it; copy or build the bundle again"
        assertEquals("${bundle.folder}/conditioner.pte $missing", error.message)
    }

    @Test
    fun `a record of a run is one of its bundle, and is read back`(@TempDir folder: File) = runBlocking {
        val (generator, _) = standIn()
        val bundle = generator.bundle
        val recorder = Recorder()
        generator.events(REQUEST, recorder).collect()
        val wav = standIn().first.generate(REQUEST).save(File(folder, "x.wav"))
        val silent = recorder.record(generator, REQUEST, "core", "0.1.0", openSeconds = 0.5, "here")
        assertEquals(null, silent.wav)
        val record = silent.with(wav)
        record.check(bundle)
        assertEquals(
            listOf("core", "executorch", "stand-in"),
            record.run.runtime.run {
                listOf(name, engine, engineVersion)
            },
        )
        assertEquals(EVENTS, record.run.stages.map { it.stage })
        assertTrue(record.run.stages.all { it.peakRssMb > 1 })
        val text = ByteArrayOutputStream().also { record.write(it) }.toString("UTF-8")
        val read = Record.parse(text)
        assertEquals(record.run to record.wav, read.run to read.wav)
        for ((name, tensor) in record.tensors) assertEquals(tensor.view(), read.tensors.getValue(name).view())
        refuseOthers(read, bundle)
    }

    private fun refuseOthers(record: Record, bundle: Bundle) {
        fun refusal(run: RunInfo = record.run, tensors: Tensors = record.tensors, wav: WavReport? = record.wav) =
            assertThrows<RecordException> { Record(run, tensors, wav).check(bundle) }.message
        assertTrue("lacks the tensor 'latent'" in refusal(tensors = record.tensors - "latent"))
        val mood = Tensor.of(listOf(1L), floatArrayOf(0f))
        assertTrue(
            "mood is float32 (1,), expected nothing of that name" in
                refusal(tensors = record.tensors + ("mood" to mood)),
        )
        val other = record.run.copy(bundle = bundle.identity.copy(model = "other"))
        assertTrue("of another bundle than $TINY_BUNDLE: model 'other', not 'tiny'" in refusal(run = other))
        val longer = record.run.copy(request = REQUEST.copy(seconds = 9.0))
        assertEquals("request.seconds is 9, which this bundle cannot make", refusal(run = longer))
        assertTrue("wav is not of its audio, 2 x 44100" in refusal(wav = record.wav!!.copy(samples = 3)))
    }

    @Test
    fun `the golden vectors are proven by programs that give them, and by no others`() = runBlocking {
        val bundle = Bundle.open(TINY_BUNDLE)
        val golden = bundle.readGolden()
        val engine = Recorded(bundle.manifest.generation, golden)
        val generator = Generator(bundle, engine)
        val checks = generator.prove().toList()
        val outputs = bundle.manifest.generation.programs.getValue("conditioner").outputs.size
        assertEquals(8 + outputs, checks.size)
        assertEquals(emptyList<Check>(), checks.filterNot { it.passed })
        assertEquals(
            listOf("tokenizer", "noise", "sampler", "conditioner", "dit", "decoder", "run"),
            checks.map {
                it.stage
            }.distinct(),
        )
        for ((stage, roles) in STAGES) {
            for (role in roles) {
                engine.spoiled = role
                val failed = generator.prove().toList().filterNot { it.passed }.map { it.stage }
                assertTrue(stage in failed, "$role: $failed")
            }
        }
    }

    @Test
    fun `the difference of two tensors is measured as the reference measures it`() {
        fun tensor(vararg values: Float) = Tensor.of(listOf(values.size.toLong()), values)
        assertEquals(Double.POSITIVE_INFINITY, snrDb(tensor(1f, 2f), tensor(1f, 2f)))
        assertEquals(Double.NEGATIVE_INFINITY, snrDb(tensor(0f), tensor(1f)))
        assertEquals(Double.NEGATIVE_INFINITY, snrDb(tensor(1f), tensor(Float.NaN)))
        assertEquals(20.0, snrDb(tensor(10f, 0f), tensor(10f, 1f)), 1e-9)
        assertEquals(0.5, maxError(tensor(1f, 2f), tensor(1f, 1.5f)))
        assertTrue(maxError(tensor(1f), tensor(Float.POSITIVE_INFINITY)).isNaN())
        assertThrows<IllegalArgumentException> { snrDb(tensor(1f), tensor(1f, 1f)) }
    }

    @Test
    fun `audio that is none is refused`() {
        val one = FloatArray(3)
        assertThrows<UsageException> { Audio(emptyList(), 44100) }
        assertThrows<UsageException> { Audio(listOf(one, FloatArray(2)), 44100) }
        assertThrows<UsageException> { Audio(listOf(one), 0) }
        assertThrows<GenerationException> { Audio(listOf(floatArrayOf(Float.NaN)), 44100).wav() }
        assertArrayEquals(Audio(listOf(one), 8000).wav(), Audio(listOf(FloatArray(3)), 8000).wav())
    }
}

/** Gives the golden vectors back: what the reference made of each input, found by the input. */
private class Recorded(spec: GenerationSpec, private val golden: Tensors) : Engine by StandIn(spec) {
    var spoiled = ""
    private val hop = spec.latent.hop
    private val length = spec.latent.length
    private val window = spec.window
    private val rate = spec.features!!.rate
    private val tailHop = spec.tailHop
    private val tile = spec.tile
    private val handed = spec.programs.getValue("decoder").outputs.single().shape
    private val conditioning = spec.programs.getValue("conditioner").outputs.map { it.name }

    override fun open(program: ProgramFile, options: ProgramOptions): Program = object : Program {
        override fun run(inputs: Tensors): Tensors {
            val made = when (program.role) {
                "conditioner" -> golden.filterKeys { it in conditioning }
                "dit" -> mapOf("velocity" to velocity(inputs.getValue("sigma").toFloatArray()[0]))
                "decoder" -> mapOf("features" to places(inputs.getValue("latent").toFloatArray()))
                else -> mapOf("audio" to sound(inputs.getValue("features").toFloatArray()[0].toInt()))
            }
            return if (program.role != spoiled) {
                made
            } else {
                made.mapValues { (_, tensor) ->
                    Tensor.of(tensor.shape, FloatArray(tensor.toFloatArray().size) { 3f })
                }
            }
        }

        override fun close() = Unit
    }

    private fun velocity(sigma: Float): Tensor {
        val step = golden.getValue("sigmas").toFloatArray().indexOfFirst { it == sigma }
        return golden.getValue("step_velocity").entry(step)
    }

    /** In place of features where they lie in the clip: of the window of the golden latent that is the nearest. */
    private fun places(taken: FloatArray): Tensor {
        val latent = golden.getValue("latent").toFloatArray()
        val start = (0..length - window).minByOrNull { first -> Math.abs(latent[first] - taken[0]) }!!
        val width = window * rate
        return Tensor.of(handed, FloatArray(handed[1].toInt() * width) { (start * rate + it % width).toFloat() })
    }

    /** Of the golden sound, as much as a tile that begins at this feature gives. */
    private fun sound(first: Int): Tensor {
        val audio = golden.getValue("audio").toFloatArray()
        val channels = audio.size / (length * hop)
        val width = tile * tailHop
        val piece = FloatArray(channels * width) {
            audio[it / width * length * hop + first * tailHop + it % width]
        }
        return Tensor.of(listOf(1L, channels.toLong(), width.toLong()), piece)
    }
}
