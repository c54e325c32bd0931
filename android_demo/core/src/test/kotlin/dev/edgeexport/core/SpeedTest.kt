package dev.edgeexport.core

import kotlinx.coroutines.runBlocking
import kotlinx.serialization.json.Json
import kotlinx.serialization.json.JsonArray
import kotlinx.serialization.json.JsonObject
import kotlinx.serialization.json.JsonPrimitive
import kotlinx.serialization.json.jsonObject
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.Test
import org.junit.jupiter.api.io.TempDir
import java.io.File
import kotlin.system.measureNanoTime

private const val PIECES = 32_100
private const val LENGTH = 256
private const val WINDOW = 64
private const val HOP = 2048
private const val RATE = 64
private const val HEAP_MB = 48

/** What this takes itself, without programs, at the published size; in a process of its own. */
class SpeedTest {
    @TempDir
    lateinit var folder: File

    /** `-Dedge.speed=1` holds the times to what is asked for; else to ten times that, for machines that are busy. */
    private val slack = System.getProperty("edge.speed")?.toDouble() ?: 10.0

    @Test
    fun `the whole clip fits into a small heap, and little time goes to all but the programs`() {
        val bundle = publishedSize(folder)
        val java = File(System.getProperty("java.home"), "bin/java").path
        val command = listOf(
            java,
            "-Xmx${HEAP_MB}m",
            "-XX:ActiveProcessorCount=1",
            "-cp",
            System.getProperty("java.class.path"),
            "-Dedge.fixtures=$FIXTURES",
            "dev.edgeexport.core.SpeedTestKt",
            bundle.path,
        )
        val process = ProcessBuilder(command).redirectErrorStream(true).start()
        val answer = process.inputStream.bufferedReader().readText()
        assertEquals(0, process.waitFor(), answer)
        println(answer.trim())
        val times = Json.parseToJsonElement(answer.lines().last { it.startsWith("{") }).jsonObject
        assertTrue(times.double("opening_ms") < 20 * slack, answer)
        assertTrue(times.double("own_ms") < 150 * slack, answer)
    }
}

/** The tiny bundle with the published model's lengths, and a tokenizer of as many pieces as T5's. */
private fun publishedSize(folder: File): File {
    val bundle = copyOfBundle(folder)
    val t5 = Json.parseToJsonElement(File(FIXTURES, "golden/t5.json").readText()).jsonObject
    fun padded(key: String, made: (Int) -> JsonPrimitive) =
        JsonArray(t5.list(key) + (t5.list(key).size until PIECES).map(made))
    val tokenizer = File(bundle, "tokenizer.json").apply {
        val lists = mapOf(
            "pieces" to padded("pieces") { JsonPrimitive("\u2581piece$it") },
            "scores" to padded("scores") { JsonPrimitive(-10 - it / 3000.0) },
            "types" to padded("types") { JsonPrimitive(NORMAL) },
        )
        writeText(JsonObject(t5 + lists).toString())
    }
    File(bundle, "golden.safetensors").delete()
    val text = File(bundle, "manifest.json").readText()
    // 26 latents, 22 at a time, are 256 and 64; 1408 features of a window are 4096.
    var document: kotlinx.serialization.json.JsonElement = Json.parseToJsonElement(text)
    fun set(path: String, value: Any) {
        val json = if (value is List<*>) JsonArray(value.map { JsonPrimitive(it as Int) }) else JsonPrimitive("$value")
        document = replaced(document, path.split("/"), if (value is Int) JsonPrimitive(value) else json)
    }
    set("generation/latent/shape", listOf(64, LENGTH))
    for (path in listOf("inputs/0", "outputs/0")) set("generation/programs/dit/$path/shape", listOf(1, 64, LENGTH))
    set("generation/programs/decoder/inputs/0/shape", listOf(1, 64, WINDOW))
    set("generation/programs/decoder/outputs/0/shape", listOf(1, 16, WINDOW * RATE))
    set("tokenizer/bytes", tokenizer.length().toInt())
    set("tokenizer/sha256", sha256Of(tokenizer))
    File(bundle, "manifest.json").writeText(resealed(document.jsonObject))
    return bundle
}

/** Prints milliseconds: the first time in a new process, and once warm. */
fun main(arguments: Array<String>) {
    val folder = File(arguments[0])
    val receipts = Receipts(File(folder.parentFile, "receipts"))
    Thread.sleep(2_100) // a file younger than 2 s is hashed again whatever a receipt says
    val coldOpening = milliseconds { Bundle.open(folder, receipts) }
    val bundle = Bundle.open(folder, receipts)
    val opening = (1..9).map { milliseconds { Bundle.open(folder, receipts) } }.sorted()[4]
    val loading = milliseconds { bundle.readTokenizer() }
    val tokenizer = bundle.readTokenizer()
    val coldOwn = milliseconds { own(bundle, tokenizer, folder) }
    val own = (1..9).map { milliseconds { own(bundle, tokenizer, folder) } }.sorted()[4]
    val engine = StandIn(bundle.manifest.generation)
    val generator = Generator(bundle, engine)
    val request = Request("warm arpeggios on house beats 120BPM", bundle.manifest.generation.secondsLimit)
    val clip = runBlocking { generator.generate(request) }
    clip.save(File(folder.parentFile, "x.wav"))
    check(clip.audio.samples == LENGTH * HOP)
    val times = mapOf(
        "first_opening_ms" to coldOpening,
        "opening_ms" to opening,
        "first_tokenizer_ms" to loading,
        "first_own_ms" to coldOwn,
        "own_ms" to own,
    )
    println(JsonObject(times.mapValues { JsonPrimitive(Math.round(it.value * 10) / 10.0) }))
}

/** All of a 7 s clip that no program does. */
private fun own(bundle: Bundle, tokenizer: Tokenizer, folder: File) {
    val spec = bundle.manifest.generation
    val request = Request("warm arpeggios on house beats 120BPM", 7.0)
    tokenizer.encodePrompt(request, spec)
    val noise = latentNoise(spec, request.seed)
    val steps = spec.sampler.sampler.steps({ latent, _ -> latent }, noise(), noise, spec.sampler.schedule(8)).toList()
    val pieces = windows(LENGTH, WINDOW, spec.latent.margin, needed = 151).map {
        val samples = (it.end - it.first) * HOP
        Tensor.of(listOf(2L, samples.toLong()), FloatArray(2 * samples) { place -> steps.last().clean[place % 4096] })
    }
    val tags = Tags(bundle.manifestSha256, request.resolved(spec), Finishing())
    joined(pieces, spec.audio.sampleRate).save(File(folder.parentFile, "own.wav"), false, Finishing(), tags, cut = true)
}

private fun milliseconds(action: () -> Unit): Double = measureNanoTime(action) / 1e6
