package dev.edgeexport.core

import kotlinx.coroutines.runBlocking
import kotlinx.serialization.json.Json
import kotlinx.serialization.json.JsonObject
import kotlinx.serialization.json.jsonArray
import kotlinx.serialization.json.jsonObject
import java.io.File
import kotlin.system.measureNanoTime

/**
 * Plays with real programs: the library, a JSON list of bundles and what to play with each, a folder for WAVs and
 * records, both called by the number of the bundle and of the request. It proves each bundle, too.
 */
object PlayReal {
    @JvmStatic
    fun main(words: Array<String>) {
        val engine = EdgeProgram(File(words[0]))
        for ((number, each) in Json.parseToJsonElement(File(words[1]).readText()).jsonArray.withIndex()) {
            val requests = each.jsonObject.list("requests").map { request(it.jsonObject) }
            play(engine, File(each.jsonObject.text("bundle")), requests, File(words[2], "$number"))
        }
    }

    private fun request(asked: JsonObject) =
        Request(asked.text("prompt"), asked.double("seconds"), asked.text("seed").toLong(), asked.int("steps"))

    private fun play(engine: Engine, folder: File, requests: List<Request>, out: File) = runBlocking {
        val bundle: Bundle
        val seconds = measureNanoTime { bundle = Bundle.open(folder) } / 1e9
        Generator(
            bundle,
            engine,
            packedWeights = File(out.parentFile, "weights"),
            keepLoaded = false,
        ).use { generator ->
            for ((number, request) in requests.withIndex()) {
                val recorder = Recorder()
                val wav = generator.generate(request, recorder).save(File("$out-$number.wav"))
                val record = recorder.record(generator, request, "core", "test", seconds, wav = wav)
                File("$out-$number.json").outputStream().use { record.write(it) }
            }
            generator.prove().collect { check(it.passed) { "$it" } }
        }
    }
}
