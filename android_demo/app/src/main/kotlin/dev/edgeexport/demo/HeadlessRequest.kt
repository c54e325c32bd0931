package dev.edgeexport.demo

import android.util.JsonReader
import android.util.JsonToken
import dev.edgeexport.core.Request
import dev.edgeexport.core.UsageException
import java.io.File
import java.io.IOException
import java.io.StringReader

private const val MOST_BYTES = 1L shl 20
private val BUNDLE_NAME = Regex("[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
private val KEYS = setOf("bundle", "request", "threads", "label")
private val REQUEST_KEYS = setOf("prompt", "seconds", "seed", "steps")

/**
 * What a run without a screen is to do: request.json. It knows the file's form, not whether a bundle can play it.
 *
 * @property bundle the name of a folder of bundles; null: the app's own.
 * @property threads of the CPU; null: as many as pay.
 * @property label the device's name in the record.
 */
internal data class HeadlessRequest(val bundle: String?, val request: Request, val threads: Int?, val label: String) {
    companion object {
        /** Read [file]; [UsageException] says what is wrong with it. */
        fun read(file: File): HeadlessRequest {
            if (file.length() > MOST_BYTES) throw UsageException("$file is larger than 1 MiB; write a shorter request")
            val text = try {
                file.readText()
            } catch (error: IOException) {
                throw UsageException("cannot read $file: ${error.message}; push a request.json first", error)
            }
            return try {
                parse(text)
            } catch (error: IOException) {
                throw UsageException("$file is no JSON: ${error.message}; push it again", error)
            } catch (error: IllegalArgumentException) {
                throw UsageException("$file: ${error.message}; push it again", error)
            }
        }

        /** The same from its text; IllegalArgumentException: the form is wrong. IOException: it is no JSON. */
        private fun parse(text: String): HeadlessRequest = JsonReader(StringReader(text)).use { json ->
            val found = Fields(json, "", KEYS) { key ->
                if (key == "request") request(json) else json.scalar()
            }
            require(json.peek() == JsonToken.END_DOCUMENT) { "something follows the object" }
            HeadlessRequest(
                bundle = found.text("bundle", optional = true)?.also {
                    require(BUNDLE_NAME.matches(it)) { "bundle is no plain name of a folder" }
                },
                request = requireNotNull(found.values["request"] as? Request) { "request is no object" },
                threads = found.whole("threads", optional = true)?.toIntOrRefuse("threads"),
                label = found.text("label").orEmpty(),
            )
        }

        private fun request(json: JsonReader): Request {
            val found = Fields(json, "request.", REQUEST_KEYS) { json.scalar() }
            return Request(
                prompt = found.text("prompt").orEmpty(),
                seconds = found.number("seconds"),
                seed = found.whole("seed") ?: 0,
                steps = found.whole("steps", optional = true)?.toIntOrRefuse("request.steps"),
            )
        }
    }
}

/** One object of the document, of exactly the [keys]; [path] is what stands before them in messages. */
private class Fields(json: JsonReader, private val path: String, keys: Set<String>, value: (String) -> Any?) {
    val values = HashMap<String, Any?>()

    init {
        require(json.peek() == JsonToken.BEGIN_OBJECT) { "${path.dropLast(1).ifEmpty { "it" }} is no object" }
        json.beginObject()
        while (json.hasNext()) {
            val key = json.nextName()
            require(key in keys) { "$path${key.take(40)} is not a key of a request" }
            require(key !in values) { "$path$key comes twice" }
            values[key] = value(key)
        }
        json.endObject()
        for (key in keys) require(key in values) { "$path$key is missing" }
    }

    fun text(key: String, optional: Boolean = false): String? {
        val value = values[key]
        require(value is String || (optional && value == null)) { "$path$key is no text" }
        return value
    }

    fun number(key: String): Double {
        val value = (values[key] as? Digits)?.text?.toDoubleOrNull()
        return requireNotNull(value) { "$path$key is no number" }
    }

    fun whole(key: String, optional: Boolean = false): Long? {
        val value = (values[key] as? Digits)?.text?.toLongOrNull()
        require(value != null || (optional && values[key] == null)) { "$path$key is no whole number" }
        return value
    }
}

/** A number as it stands in the document. */
private class Digits(val text: String)

/** A text, a number, or null; a list, an object and a truth value are none of ours. */
private fun JsonReader.scalar(): Any? = when (peek()) {
    JsonToken.STRING -> nextString()
    JsonToken.NUMBER -> Digits(nextString())
    JsonToken.NULL -> nextNull().let { null }
    else -> throw IllegalArgumentException("a value is no text and no number")
}

private fun Long.toIntOrRefuse(key: String): Int {
    require(this in Int.MIN_VALUE..Int.MAX_VALUE) { "$key is too large to be true" }
    return toInt()
}
