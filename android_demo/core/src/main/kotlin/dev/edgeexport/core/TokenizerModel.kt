package dev.edgeexport.core

import kotlinx.serialization.json.JsonArray
import kotlinx.serialization.json.JsonElement
import kotlinx.serialization.json.JsonNull
import kotlinx.serialization.json.JsonObject
import kotlinx.serialization.json.JsonPrimitive
import java.io.File
import java.util.Base64
import kotlin.math.abs

internal const val NORMAL = 1
internal const val UNKNOWN = 2
internal const val USER_DEFINED = 4
private const val FORMAT = 1
private const val MAX_BYTES = 64L shl 20
private const val MAX_PIECES = 1 shl 20
private const val MAX_PIECE_BYTES = 512

/** Far from where float32 sums of scores would overflow. */
private const val MAX_SCORE = 1e9f

/** 1 normal, 2 unknown, 3 control, 4 user-defined, 5 unused. */
private val TYPES = 1..5

/** What is no character alone. */
private val SURROGATES = 0xD800..0xDFFF

/** What the JSON holds under each key. */
private val FIELDS = mapOf(
    "pieces" to "list",
    "scores" to "list",
    "types" to "list",
    "unk_id" to "int",
    "eos_id" to "int",
    "pad_id" to "int",
    "add_dummy_prefix" to "bool",
    "remove_extra_whitespaces" to "bool",
    "escape_whitespaces" to "bool",
    "charsmap" to "str",
)

/** What each list holds. */
private val ITEMS =
    mapOf("pieces" to listOf("str"), "scores" to listOf("float", "int"), "types" to listOf("int"))

/**
 * A tokenizer's file: its [pieces], their log probabilities and types, special ids, and how text is normalised.
 *
 * Types are sentencepiece's. It knows what sentencepiece itself would refuse, not how text is cut.
 */
internal class TokenizerModel(
    val pieces: List<String>,
    val scores: FloatArray,
    val types: IntArray,
    val unknownId: Int,
    val endId: Int,
    val padId: Int,
    val addDummyPrefix: Boolean,
    val removeExtraWhitespaces: Boolean,
    val escapeWhitespaces: Boolean,
    val charsmap: ByteArray,
) {
    fun piecesOf(kind: Int): List<String> = pieces.filterIndexed { id, _ -> types[id] == kind }

    companion object {
        /** [BundleException] where the file cannot be read, [FormatException] where it is no tokenizer. */
        fun load(file: File): TokenizerModel {
            val size = file.length()
            expect(size <= MAX_BYTES, "the file") { "has $size bytes, more than ${MAX_BYTES shr 20} MiB" }
            val text = textOf(readBytes(file, "copy or build the bundle again"))
            return modelOf(StrictJson.parse(text ?: throw FormatException("it is not UTF-8")))
        }
    }
}

private fun modelOf(value: JsonElement): TokenizerModel {
    expect(value is JsonObject, "the file") { "is not a JSON object" }
    val document = value as JsonObject
    val version = document["format"]
    val known = version != null && typeOf(version) == "int" && (version as JsonPrimitive).content == "$FORMAT"
    expect(known, "format") { "is ${shown(version)}, this edge-export reads $FORMAT" }
    checkTypes(document)
    val pieces = contents(document, "pieces")
    val scores = (document.getValue("scores") as JsonArray).map(::score).toFloatArray()
    val kinds = contents(document, "types")
    checkPieces(pieces, scores, kinds)
    val types = IntArray(kinds.size) { kinds[it].toInt() }
    checkIds(document, types)
    return TokenizerModel(
        pieces = pieces,
        scores = scores,
        types = types,
        unknownId = content(document, "unk_id").toInt(),
        endId = content(document, "eos_id").toInt(),
        padId = content(document, "pad_id").toInt(),
        addDummyPrefix = content(document, "add_dummy_prefix") == "true",
        removeExtraWhitespaces = content(document, "remove_extra_whitespaces") == "true",
        escapeWhitespaces = content(document, "escape_whitespaces") == "true",
        charsmap = bytesOf(content(document, "charsmap")),
    )
}

private fun checkTypes(document: JsonObject) {
    for (key in (document.keys + FIELDS.keys - "format").sorted()) {
        expect(key in document, key) { "is missing" }
        expect(key in FIELDS, key) { "is not a key of this format" }
    }
    for ((key, kind) in FIELDS) {
        val found = typeOf(document.getValue(key))
        expect(found == kind, key) { "is $found, expected $kind" }
    }
    for ((key, kinds) in ITEMS) {
        for ((index, item) in (document.getValue(key) as JsonArray).withIndex()) {
            expect(typeOf(item) in kinds, "$key[$index]") { "is ${typeOf(item)}, expected ${kinds[0]}" }
        }
    }
    bytesOf(content(document, "charsmap"))
}

private fun checkPieces(pieces: List<String>, scores: FloatArray, types: List<String>) {
    val count = pieces.size
    expect(count in 1..MAX_PIECES, "pieces") { "has $count entries, expected 1 to $MAX_PIECES" }
    for ((key, length) in listOf("scores" to scores.size, "types" to types.size)) {
        expect(length == count, key) { "has $length entries, pieces has $count" }
    }
    for ((index, piece) in pieces.withIndex()) {
        expect(utf8Length(piece) in 1..MAX_PIECE_BYTES, "pieces[$index]") { "is empty, too long or no text" }
    }
    val met = HashSet<String>(count * 2)
    val twin = pieces.find { !met.add(it) }
    expect(twin == null, "pieces") { "lists ${quoted(twin.orEmpty())} twice" }
    for ((index, score) in scores.withIndex()) {
        expect(abs(score) <= MAX_SCORE, "scores[$index]") { "is ${shortest(score.toDouble())}, no log probability" }
    }
    for ((index, kind) in types.withIndex()) {
        expect(kind.toIntOrNull() in TYPES, "types[$index]") { "is $kind, none of ${TYPES.joinToString()}" }
    }
}

private fun checkIds(document: JsonObject, types: IntArray) {
    for (key in listOf("unk_id", "eos_id", "pad_id")) {
        val id = content(document, key)
        expect(id.toIntOrNull() in types.indices, key) { "is $id, no piece's id" }
    }
    val unknown = types.indices.filter { types[it] == UNKNOWN }
    val id = content(document, "unk_id").toInt()
    expect(unknown == listOf(id), "unk_id") { "is $id, but the pieces of type unknown are $unknown" }
    expect(NORMAL in types, "types") { "has no normal piece" }
}

private inline fun expect(condition: Boolean, key: String, problem: () -> String) {
    if (!condition) throw FormatException("$key ${problem()}")
}

private operator fun IntRange.contains(value: Int?): Boolean = value != null && value >= first && value <= last

private fun content(document: JsonObject, key: String): String = (document.getValue(key) as JsonPrimitive).content

private fun contents(document: JsonObject, key: String): List<String> =
    (document.getValue(key) as JsonArray).map { (it as JsonPrimitive).content }

private fun score(item: JsonElement): Float {
    val score = (item as JsonPrimitive).content.toDouble()
    if (score.isInfinite() && typeOf(item) == "int") throw FormatException("int too large to convert to float")
    return score.toFloat()
}

/** As Python names it, where null is of a type as well. */
private fun typeOf(value: JsonElement): String = if (value is JsonNull) "NoneType" else kindOf(value)

/** Bytes of UTF-8; 0 where it has none, because of a lone surrogate or a zero character. */
private fun utf8Length(piece: String): Int {
    var bytes = 0
    var place = 0
    while (place < piece.length) {
        val point = piece.codePointAt(place)
        if (point == 0 || point in SURROGATES) return 0
        bytes += 1 + (if (point >= 0x80) 1 else 0) + (if (point >= 0x800) 1 else 0) + (if (point >= 0x10000) 1 else 0)
        place += Character.charCount(point)
    }
    return bytes
}

private fun bytesOf(base64: String): ByteArray =
    decodedBase64(base64) ?: throw FormatException("charsmap is not base64")

/** The bytes of standard base64, padded; null where it is none. */
internal fun decodedBase64(text: String): ByteArray? = try {
    if (text.length % 4 == 0) Base64.getDecoder().decode(text) else null
} catch (_: IllegalArgumentException) {
    null
}
