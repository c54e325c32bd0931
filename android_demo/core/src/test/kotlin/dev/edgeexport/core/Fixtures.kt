package dev.edgeexport.core

import kotlinx.serialization.json.Json
import kotlinx.serialization.json.JsonArray
import kotlinx.serialization.json.JsonElement
import kotlinx.serialization.json.JsonObject
import kotlinx.serialization.json.boolean
import kotlinx.serialization.json.double
import kotlinx.serialization.json.int
import kotlinx.serialization.json.jsonArray
import kotlinx.serialization.json.jsonObject
import kotlinx.serialization.json.jsonPrimitive
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.DynamicTest
import org.junit.jupiter.api.assertThrows
import java.io.File
import java.util.Base64

/** tests/fixtures of the repository. */
val FIXTURES = File(System.getProperty("edge.fixtures") ?: error("say -Dedge.fixtures=.../tests/fixtures"))
val TINY_BUNDLE = File(FIXTURES, "bundles/fp32/bundle")

fun document(name: String): JsonObject = Json.parseToJsonElement(File(FIXTURES, "$name.json").readText()).jsonObject

fun JsonObject.text(key: String): String = getValue(key).jsonPrimitive.content

fun JsonObject.int(key: String): Int = getValue(key).jsonPrimitive.int

fun JsonObject.double(key: String): Double = getValue(key).jsonPrimitive.double

fun JsonObject.flag(key: String): Boolean = getValue(key).jsonPrimitive.boolean

fun JsonObject.list(key: String): JsonArray = getValue(key).jsonArray

fun JsonElement.floats(): FloatArray = jsonArray.map { it.jsonPrimitive.content.toFloat() }.toFloatArray()

fun JsonElement.ints(): List<Int> = jsonArray.map { it.jsonPrimitive.int }

fun bytesOf(base64: String): ByteArray = Base64.getDecoder().decode(base64)

/** One test for each case of a file of fixtures. */
fun each(name: String, key: String = "cases", test: (JsonObject) -> Unit): List<DynamicTest> {
    val cases = document(name).list(key)
    assertTrue(cases.isNotEmpty())
    return cases.mapIndexed { index, case ->
        DynamicTest.dynamicTest("$name $index: ${case.toString().take(60)}") { test(case.jsonObject) }
    }
}

/** JSON in ASCII, so that lone surrogates can be written to a file. */
fun ascii(document: JsonElement): String = document.toString().map {
    if (it < '\u007f') "$it" else "\\u" + it.code.toString(16).padStart(4, '0')
}.joinToString("")

/** The document with the value at a dotted path replaced, or deleted where the case has none. */
fun replaced(document: JsonElement, path: List<String>, value: JsonElement?): JsonElement {
    val key = path.first()
    val rest = path.drop(1)
    if (document is JsonArray) {
        val index = key.toInt()
        val item = if (rest.isEmpty()) value else replaced(document[index], rest, value)
        return JsonArray(document.take(index) + listOfNotNull(item) + document.drop(index + 1))
    }
    val entries = LinkedHashMap(document.jsonObject)
    val item = if (rest.isEmpty()) value else replaced(entries.getValue(key), rest, value)
    if (item == null) entries.remove(key) else entries[key] = item
    return JsonObject(entries)
}

/** The good document as the case alters it. */
fun altered(good: String, case: JsonObject): JsonElement =
    replaced(Json.parseToJsonElement(good), case.text("path").split("."), case["value"])

/** JSON text with the seal that it should have: what is wrong with it is something else. */
fun resealed(document: JsonObject): String {
    val text = ascii(JsonObject(document - "seal")).dropLast(1) + ", \"seal\": \"\"}"
    return text.replace("\"seal\": \"\"}", "\"seal\": \"${sha256Of(text.toByteArray())}\"}")
}

/** The case is refused with its very message, or one that begins like it. */
inline fun <reified Refusal : EdgeExportException> assertRefused(
    case: JsonObject,
    path: File? = null,
    action: () -> Unit,
) {
    val message = assertThrows<Refusal> { action() }.message.let {
        if (path ==
            null
        ) {
            it
        } else {
            it.replace("$path", "PATH")
        }
    }
    assertTrue(message.none { it < ' ' }, message)
    val begins = case["begins"]?.jsonPrimitive?.content
    if (begins == null) assertEquals(case.text("error"), message) else assertTrue(message.startsWith(begins), message)
}

/** A copy of the tiny bundle that a test may spoil. */
fun copyOfBundle(folder: File): File = File(folder, "bundle").also { TINY_BUNDLE.copyRecursively(it) }
