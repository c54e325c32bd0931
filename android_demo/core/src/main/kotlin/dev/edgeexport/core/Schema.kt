package dev.edgeexport.core

import kotlinx.serialization.json.JsonArray
import kotlinx.serialization.json.JsonElement
import kotlinx.serialization.json.JsonNull
import kotlinx.serialization.json.JsonObject
import kotlinx.serialization.json.JsonPrimitive
import kotlin.math.abs

// Parsed JSON as data classes, strictly: an unknown key, a missing one or a wrong type is refused with its place in the
// document. It knows no file and no contract.

private const val MAX_WHOLE_FLOAT = 1L shl 53

/** [problem] is what is wrong with the value at [path]; an empty path is the document itself. */
internal class SchemaException(val path: String, val problem: String, cause: Throwable? = null) :
    Exception(if (path.isEmpty()) problem else "$path: $problem", cause)

internal inline fun require(condition: Boolean, path: String, problem: () -> String) {
    if (!condition) throw SchemaException(path, problem())
}

/** Reads the part of a document at a path. */
internal typealias Reader<T> = (value: JsonElement, path: String) -> T

/** One object of the document, which has exactly the [keys] of the contract. */
internal class Fields(value: JsonElement, private val path: String, vararg keys: String) {
    private val document = objectAt(value, path)

    init {
        for (key in document.keys) {
            require(key in keys, at(key)) { "is not a key of this schema; was it made by another version?" }
        }
        for (key in keys) require(key in document, at(key)) { "is missing" }
    }

    fun at(key: String): String = join(path, key)

    fun <T> get(key: String, reader: Reader<T>): T = reader(document.getValue(key), at(key))

    fun text(key: String): String = get(key, ::readText)

    fun whole(key: String): Long = get(key, ::readWhole)

    /** The same of what no sound document has beyond an Int: more counts as the most. */
    fun int(key: String): Int = whole(key).coerceIn(Int.MIN_VALUE.toLong(), Int.MAX_VALUE.toLong()).toInt()

    fun number(key: String): Double = get(key, ::readNumber)

    fun flag(key: String): Boolean = get(key, ::readFlag)
}

internal fun readText(value: JsonElement, path: String): String {
    require(value is JsonPrimitive && value.isString, path) { "expected str, found ${kindOf(value)}" }
    return (value as JsonPrimitive).content
}

internal fun readWhole(value: JsonElement, path: String): Long {
    require(kindOf(value) == "int", path) { "expected int, found ${kindOf(value)}" }
    val number = (value as JsonPrimitive).content.toLongOrNull()
    require(number != null, path) { "is too large to be true" }
    return number!!
}

internal fun readNumber(value: JsonElement, path: String): Double {
    val kind = kindOf(value)
    require(kind == "int" || kind == "float", path) { "expected float, found $kind" }
    val number = (value as JsonPrimitive).content.toDouble()
    require(kind == "float" || abs(number) <= MAX_WHOLE_FLOAT, path) { "is too large to be true" }
    require(!number.isInfinite(), path) { "is not a finite number" }
    return number
}

internal fun readFlag(value: JsonElement, path: String): Boolean {
    require(kindOf(value) == "bool", path) { "expected bool, found ${kindOf(value)}" }
    return (value as JsonPrimitive).content == "true"
}

internal fun <T> listOf(reader: Reader<T>): Reader<List<T>> = { value, path ->
    require(value is JsonArray, path) { "expected a list, found ${kindOf(value)}" }
    (value as JsonArray).mapIndexed { index, item -> reader(item, "$path[$index]") }
}

internal fun <T> tableOf(reader: Reader<T>): Reader<Map<String, T>> = { value, path ->
    objectAt(value, path).mapValues { (key, item) -> reader(item, join(path, key)) }
}

internal fun <T> optional(reader: Reader<T>): Reader<T?> = { value, path ->
    if (value is JsonNull) null else reader(value, path)
}

private fun objectAt(value: JsonElement, path: String): JsonObject {
    require(value is JsonObject, path) { "expected an object, found ${kindOf(value)}" }
    return value as JsonObject
}

private fun join(path: String, key: String): String = if (path.isEmpty() || key.isEmpty()) path + key else "$path.$key"

/** What kind of value it is, as every runtime names it. */
internal fun kindOf(value: JsonElement): String = when (value) {
    is JsonNull -> "null"

    is JsonObject -> "dict"

    is JsonArray -> "list"

    is JsonPrimitive -> when {
        value.isString -> "str"
        value.content == "true" || value.content == "false" -> "bool"
        value.content.any { it in ".eE" } -> "float"
        else -> "int"
    }
}

/** The value as Python's `repr` shows it. */
internal fun shown(value: JsonElement?): String = when (value) {
    null, is JsonNull -> "None"

    is JsonArray -> value.joinToString(prefix = "[", postfix = "]") { shown(it) }

    is JsonObject -> value.entries.joinToString(prefix = "{", postfix = "}") { "${quoted(it.key)}: ${shown(it.value)}" }

    is JsonPrimitive -> when (kindOf(value)) {
        "str" -> quoted(value.content)
        "bool" -> value.content.replaceFirstChar(Char::uppercaseChar)
        "float" -> shortest(value.content.toDouble())
        else -> value.content
    }
}
