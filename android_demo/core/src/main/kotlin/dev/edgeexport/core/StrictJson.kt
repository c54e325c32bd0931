package dev.edgeexport.core

import kotlinx.serialization.SerializationException
import kotlinx.serialization.json.Json
import kotlinx.serialization.json.JsonArray
import kotlinx.serialization.json.JsonElement
import kotlinx.serialization.json.JsonNull
import kotlinx.serialization.json.JsonObject
import kotlinx.serialization.json.JsonPrimitive
import kotlinx.serialization.json.jsonPrimitive

/**
 * JSON from a stranger: no NaN, no key twice, no nesting deep enough to exhaust the stack.
 *
 * The tree is kotlinx.serialization's. Its reader takes the last of two equal keys, any word for a number, and line
 * breaks inside of strings; what it lets pass is looked for before and after.
 */
internal object StrictJson {
    private const val MAX_DEPTH = 64
    private val CONSTANTS = setOf("NaN", "Infinity", "-Infinity")
    private val OFFSET = Regex("at offset ([0-9]+)")

    /** The document in [text]; [FormatException] says why it is none. */
    fun parse(text: String): JsonElement {
        Scan(text).run()
        val document = try {
            Json.parseToJsonElement(text)
        } catch (error: SerializationException) {
            throw noJson(OFFSET.find(error.message.orEmpty())?.groupValues?.get(1) ?: text.length, error)
        }
        refuseOddWords(document)
        return document
    }

    private fun noJson(place: Any, cause: Throwable? = null) =
        FormatException("does not go on as JSON at character $place", cause)

    private fun refuseOddWords(value: JsonElement) {
        when (value) {
            is JsonObject -> value.values.forEach(::refuseOddWords)
            is JsonArray -> value.forEach(::refuseOddWords)
            is JsonNull -> Unit
            is JsonPrimitive -> if (!value.isString) refuseOddWord(value.content)
        }
    }

    private fun refuseOddWord(word: String) {
        if (word in CONSTANTS) throw FormatException("holds $word, which is not a number JSON allows")
        if (word != "true" && word != "false" && !isNumber(word)) {
            throw FormatException("holds ${quoted(word.firstPoints(40))}, which is no JSON")
        }
    }

    /** `-?(0|[1-9][0-9]*)([.][0-9]+)?([eE][-+]?[0-9]+)?`, by hand: a tokenizer holds tens of thousands of numbers. */
    private fun isNumber(word: String): Boolean {
        var place = if (word.startsWith("-")) 1 else 0
        val whole = place
        place = afterDigits(word, place)
        if (place == whole || (word[whole] == '0' && place > whole + 1)) return false
        if (place < word.length && word[place] == '.') {
            val fraction = place + 1
            place = afterDigits(word, fraction)
            if (place == fraction) return false
        }
        if (place < word.length && word[place] in "eE") {
            val exponent = place + if (place + 1 < word.length && word[place + 1] in "+-") 2 else 1
            place = afterDigits(word, exponent)
            if (place == exponent) return false
        }
        return place == word.length
    }

    private fun afterDigits(word: String, from: Int): Int {
        var place = from
        while (place < word.length && word[place] in '0'..'9') place++
        return place
    }

    /** A look at the text alone: how deep it nests, keys that are given twice, control characters in strings. */
    private class Scan(private val text: String) {
        private val keys = ArrayList<MutableSet<String>>()
        private var nameStart = 0
        private var nameEnd = 0

        fun run() {
            var place = 0
            while (place < text.length) {
                when (text[place]) {
                    '"' -> {
                        nameStart = place
                        place = stringEnd(place)
                        nameEnd = place
                        continue
                    }

                    '{', '[' -> open()

                    '}', ']' -> keys.removeLastOrNull()

                    ':' -> note()
                }
                place++
            }
        }

        private fun open() {
            if (keys.size == MAX_DEPTH) throw FormatException("nested more than $MAX_DEPTH deep")
            keys.add(HashSet(0))
        }

        private fun note() {
            val raw = text.substring(nameStart, nameEnd)
            val name = if ('\\' in raw) decoded(raw) else raw.trim('"')
            if (keys.lastOrNull()?.add(name) == false) throw FormatException("gives ${quoted(name)} twice")
        }

        private fun decoded(raw: String): String = try {
            Json.parseToJsonElement(raw).jsonPrimitive.content
        } catch (error: SerializationException) {
            throw noJson(nameStart, error)
        }

        /** The place after the quote that ends the string which begins at [start]. */
        private fun stringEnd(start: Int): Int {
            var place = start + 1
            while (place < text.length) {
                when {
                    text[place] == '"' -> return place + 1
                    text[place] < ' ' -> throw noJson(place)
                    text[place] == '\\' -> place++
                }
                place++
            }
            throw noJson(start)
        }
    }
}
