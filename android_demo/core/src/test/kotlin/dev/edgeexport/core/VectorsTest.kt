package dev.edgeexport.core

import kotlinx.coroutines.flow.toList
import kotlinx.coroutines.runBlocking
import kotlinx.serialization.json.JsonNull
import kotlinx.serialization.json.JsonObject
import kotlinx.serialization.json.int
import kotlinx.serialization.json.jsonArray
import kotlinx.serialization.json.jsonObject
import kotlinx.serialization.json.jsonPrimitive
import kotlinx.serialization.json.long
import org.junit.jupiter.api.Assertions.assertArrayEquals
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertNotNull
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.Test
import org.junit.jupiter.api.TestFactory
import org.junit.jupiter.api.assertThrows
import org.junit.jupiter.api.io.TempDir
import java.io.File
import java.nio.ByteBuffer
import java.nio.ByteOrder

private const val ONLINE = "sys/devices/system/cpu/online"

/** What sentencepiece, PyTorch, a plain WAV writer and the reference runtime gave, this gives. */
class VectorsTest {
    @TestFactory
    fun `text becomes sentencepiece's ids`() = Tokenizer.load(File(FIXTURES, "golden/t5.json")).let { tokenizer ->
        each("golden/tokenizer") { case -> assertEquals(case.list("ids").ints(), tokenizer.encode(case.text("text"))) }
    }

    @TestFactory
    fun `a prompt is cut before its end and padded`() =
        Tokenizer.load(File(FIXTURES, "golden/t5.json")).let { tokenizer ->
            val length = document("golden/tokenizer").int("length")
            each("golden/tokenizer", key = "prompts") { case ->
                val made = tokenizer.encodePrompt(case.text("text"), length)
                assertEquals(case.list("ids").ints(), made.ids.toList())
                val tokens = case.int("tokens")
                assertEquals(List(length) { if (it < tokens) 1f else 0f }, made.mask.toList())
                val counts = listOf(made.tokens, made.dropped, made.unknown)
                assertEquals(listOf(tokens, case.int("dropped"), case.int("unknown")), counts)
            }
        }

    @TestFactory
    fun `of paths that tie the reference's is taken`(@TempDir folder: File) = each("vectors/tokenizers") { case ->
        val file = File(folder, "tokenizer.json").apply { writeText(case.text("tokenizer")) }
        val tokenizer = Tokenizer.load(file)
        val texts = case.list("texts").map { it.jsonPrimitive.content }
        assertEquals(case.list("ids").map { it.ints() }, texts.map(tokenizer::encode))
    }

    @TestFactory
    fun `a seed becomes torch's noise, bit for bit`() = each("golden/noise") { case ->
        val random = TorchRandom(case.getValue("seed").jsonPrimitive.long)
        val tolerance = document("golden/noise").double("tolerance").toFloat()
        for (draw in case.list("draws").map { it.jsonObject }) {
            val made = random.randn(draw.list("shape").ints().reduce(Int::times))
            val first = draw.list("first").floats()
            assertArrayEquals(first, made.copyOf(first.size), tolerance)
            assertArrayEquals(
                draw.list("last").floats(),
                made.copyOfRange(made.size - first.size, made.size),
                tolerance,
            )
            val bytes = ByteBuffer.allocate(made.size * 4).order(ByteOrder.LITTLE_ENDIAN)
            bytes.asFloatBuffer().put(made)
            assertEquals(draw.text("sha256"), sha256Of(bytes.array()))
        }
    }

    @TestFactory
    fun `steps become torch's sigmas`() = document("golden/sigmas").let { fixture ->
        val (low, high) = fixture.list("logsnr").map { it.jsonPrimitive.content.toDouble() }
        each("golden/sigmas") { case ->
            val made = SAMPLERS.getValue("pingpong")
                .sigmas(case.int("steps"), mapOf("logsnr_low" to low, "logsnr_high" to high))
            assertArrayEquals(case.list("sigmas").floats(), made, fixture.double("tolerance").toFloat())
        }
    }

    @TestFactory
    fun `audio becomes exactly these bytes`() = each("golden/wav") { case ->
        val audio = Audio(case.list("audio").map { it.floats() }, case.int("sample_rate"))
        assertArrayEquals(bytesOf(case.text("wav")), audio.wav(float32 = case.flag("float32")))
    }

    @TestFactory
    fun `a finished and tagged sound is the reference's to the byte, and its tags are read back`(
        @TempDir folder: File,
    ) = each("vectors/sounds") { case ->
        val tags = case.getValue("tags").jsonObject
        val finishing = readFinishing(tags.getValue("finishing"), "")
        val made = Tags(tags.text("bundle"), readRequest(tags.getValue("request"), ""), finishing)
        val audio = Audio(case.list("audio").map { it.floats() }, case.int("sample_rate"))
        val wav = File(folder, "x.wav")
        val report = audio.save(wav, case.flag("float32"), finishing, made, cut = case.flag("cut"))
        assertArrayEquals(bytesOf(case.text("wav")), wav.readBytes())
        assertEquals(sha256Of(wav), report.sha256)
        assertEquals(made, Tags.read(wav))
    }

    @TestFactory
    fun `numbers are written as the reference writes them`() = each("vectors/numbers") { case ->
        assertEquals(case.text("brief"), brief(case.double("number")))
        assertEquals(case.text("shortest"), shortest(case.double("number")))
    }

    @TestFactory
    fun `text is quoted as the reference quotes it`() = each("vectors/texts") { case ->
        assertEquals(case.text("printable"), printable(case.text("text")))
        assertEquals(case.text("quoted"), quoted(case.text("text")))
    }

    @TestFactory
    fun `windows are the reference's`() = each("vectors/windows") { case ->
        val (length, window, margin, needed) = listOf("length", "window", "margin", "needed").map(case::int)
        val made = windows(length, window, margin, needed, case.int("first"))
        assertEquals(case.list("windows").map { it.ints() }, made.map { listOf(it.start, it.first, it.end) })
    }

    @TestFactory
    fun `what cannot be asked for is refused in the reference's words`() = document("vectors/requests").let { fixture ->
        val spec = Manifest.parse(fixture.text("manifest")).generation
        each("vectors/requests") { case ->
            val request = readRequest(case.getValue("request"), "")
            val error = case.getValue("error")
            if (error is JsonNull) request.check(spec) else assertRefused<UsageException>(case) { request.check(spec) }
        }
    }

    @TestFactory
    fun `an estimate is the reference's`() = document("vectors/estimates").let { fixture ->
        val manifests = listOf("manifest", "tailed").associateWith { Manifest.parse(fixture.text(it)) }
        each("vectors/estimates") { case ->
            val manifest = manifests.getValue(case.text("of"))
            val programs = manifest.programs.mapValues { (role, program) ->
                case.getValue("sizes").jsonObject[role]?.jsonArray?.map { it.jsonPrimitive.long }?.let {
                    program.copy(bytes = it[0], memory = MemorySpec(it[1], it[2], it[3]))
                } ?: program
            }
            val packed = Packed.valueOf(case.text("packed").uppercase())
            val request = manifest.golden.request.copy(seconds = case.double("seconds"))
            val made = manifest.copy(programs = programs, backend = case.text("backend"))
                .estimate(request, estimateOf(case, "overhead"), case.flag("keep_loaded"), packed)
            assertEquals(estimateOf(case, "estimate"), made)
        }
    }

    @Test
    fun `cores are those that run and are allowed`(@TempDir folder: File) {
        fun allowed(mine: String, online: String): Set<Int> {
            val files = mapOf("proc/self/status" to "Name: x\nCpus_allowed_list:\t$mine\n", ONLINE to "$online\n")
            for ((name, text) in files) File(folder, name).apply { parentFile.mkdirs() }.writeText(text)
            return Machine.allowedCores(folder).toSet()
        }
        val counted = (0 until Runtime.getRuntime().availableProcessors()).toSet()
        assertEquals(setOf(0, 1, 2, 3, 6), allowed("0-3,6", "0-7"))
        assertEquals(setOf(4, 5), allowed("0-127", "4-5"))
        for (bad in listOf("", "a", "-1", "0-", "0-70000", "0,,1", "8")) assertEquals(counted, allowed(bad, "0-7"), bad)
        assertEquals(counted, Machine.allowedCores(File(folder, "none")).toSet())
        assertTrue(Machine.fastCores() in 1..counted.size)
    }

    private fun estimateOf(case: JsonObject, key: String) = case.getValue(key).jsonObject.let {
        Estimate(it.getValue("mapped_bytes").jsonPrimitive.long, it.getValue("private_bytes").jsonPrimitive.long)
    }

    @TestFactory
    fun `a cpu is named as the reference names it`() = each("vectors/machines") { case ->
        assertEquals(case.text("name"), Machine.cpuName(case.text("cpuinfo")))
        val features = case.list("features").map { it.jsonPrimitive.content }
        assertEquals(features, Machine.featuresOfAll(case.text("cpuinfo")))
    }

    @TestFactory
    fun `the fast cores are the reference's`(@TempDir folder: File) = each("vectors/machines", "phones") { case ->
        val root = File(folder, "${case.hashCode()}")
        for ((name, content) in case.getValue("files").jsonObject) {
            File(root, name).apply { parentFile.mkdirs() }.writeText("${content.jsonPrimitive.content}\n")
        }
        assertEquals(case.int("fast"), Machine.fastCores(root, case.list("allowed").ints()))
    }

    @TestFactory
    fun `a whole generation is the reference's to the byte`(@TempDir folder: File) =
        each("vectors/generations") { case ->
            val asked = case.getValue("request").jsonObject
            val request = Request(
                prompt = asked.text("prompt"),
                seconds = asked.double("seconds"),
                seed = asked.getValue("seed").jsonPrimitive.long,
                steps = asked.getValue("steps").takeUnless { it is JsonNull }?.jsonPrimitive?.int,
            )
            val (generator, _) = standIn(Bundle.open(File(FIXTURES, document("vectors/generations").text("bundle"))))
            val pieces = generator.pieces(request)
            assertEquals(case.list("pieces").map { it.jsonPrimitive.content }, pieces)
            val clip = runBlocking { generator.generate(request) }
            val file = File(folder, "x.wav")
            val report = clip.save(file, finishing = Finishing(normalize = case.flag("normalize")))
            val finishing = Finishing(normalize = case.flag("normalize"))
            val exact = clip.save(File(folder, "y.wav"), float32 = true, finishing = finishing)
            assertEquals(case.text("float32_sha256"), exact.sha256)
            val wav = case.getValue("wav").jsonObject
            assertEquals(wav.text("sha256"), sha256Of(file))
            assertEquals(wav.double("peak"), report.peak)
            assertEquals(listOf(wav.int("bytes"), wav.int("samples")), listOf(report.bytes.toInt(), report.samples))
            assertEquals(wav.int("clipped").toLong(), report.clipped)
            assertEquals(pieces.size - 1, runBlocking { generator.events(request).toList() }.size)
            assertNotNull(
                assertThrows<GenerationException> {
                    generator.also { it.close() }.let { runBlocking { it.generate(request) } }
                },
            )
        }
}
