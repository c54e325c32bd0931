package dev.edgeexport.core

import kotlinx.serialization.json.JsonElement
import kotlinx.serialization.json.JsonPrimitive
import java.io.DataInputStream
import java.io.EOFException
import java.io.File
import java.io.IOException
import java.nio.ByteBuffer
import java.nio.ByteOrder

private const val SOFTWARE = "edge-export"
private const val MAX_INFO_BYTES = 2L shl 20 // a prompt of 100 000 characters, twice
private const val MOST_CHUNKS = 1000
private val SHA256 = Regex("[0-9a-f]{64}")

/**
 * What a WAV says of itself: the prompt, what made it, and how to make it again. It does not know how sound is made.
 *
 * A RIFF chunk LIST of kind INFO after the data, which some readers expect early: INAM, the prompt with a space for
 * every control character (U+0000 to U+001F, and U+007F); ISFT, "edge-export"; ICMT, [comment]. Each text is UTF-8,
 * ended by a zero byte, padded to an even length.
 *
 * @property bundle the sha256 of its manifest.json.
 * @property request nothing is left open in it.
 */
public data class Tags(val bundle: String, val request: Request, val finishing: Finishing) {
    /** The prompt without control characters. */
    internal val title: String
        get() = request.prompt.map { if (it < ' ' || it == '\u007F') ' ' else it }.joinToString("")

    /** Bundle, request and finishing as JSON without spaces; other letters than ASCII's stay as they are. */
    internal val comment: String
        get() {
            val (prompt, seconds, seed, steps) = request
            return """{"bundle":${JsonPrimitive(bundle)},"request":{"prompt":${JsonPrimitive(prompt)},""" +
                """"seconds":${shortest(seconds)},"seed":$seed,"steps":$steps},""" +
                """"finishing":{"normalize":${finishing.normalize},"fade":${finishing.fade}}}"""
        }

    /** The chunk as it stands in a WAV. */
    internal fun chunk(): ByteArray {
        val texts = listOf("INAM" to title, "ISFT" to SOFTWARE, "ICMT" to comment)
        val chunks = texts.map { (name, text) -> chunk(name, utf8(text) + 0) }
        return chunk("LIST", chunks.fold("INFO".toByteArray()) { list, each -> list + each })
    }

    private fun chunk(name: String, body: ByteArray): ByteArray =
        ByteBuffer.allocate(8 + body.size + body.size % 2).order(ByteOrder.LITTLE_ENDIAN)
            .put(name.toByteArray()).putInt(body.size).put(body).array()

    public companion object {
        /**
         * The tags of a WAV that a runtime wrote; of the file no more is read than where its chunks begin.
         *
         * @throws UsageException the file cannot be read, is no WAV, or holds no tags of ours.
         */
        public fun read(file: File): Tags {
            try {
                val info = file.inputStream().buffered().use { infoOf(DataInputStream(it)) }
                val comment = textsOf(info ?: throw FormatException("it has none"))["ICMT"]
                return parsed(comment ?: throw FormatException("it has no comment"))
            } catch (error: IOException) {
                throw UsageException("cannot read $file: ${reason(error)}; name a WAV file", error)
            } catch (error: FormatException) {
                throw foreign(file, error.message, error)
            } catch (error: SchemaException) {
                throw foreign(file, error.message.orEmpty(), error)
            }
        }

        private fun foreign(file: File, reason: String, cause: Throwable) = UsageException(
            "$file holds no tags of edge-export ($reason); compare a run's record, made with --record",
            cause,
        )
    }
}

private fun parsed(comment: ByteArray): Tags {
    val text = textOf(comment) ?: throw FormatException("its comment is no JSON")
    val document = try {
        StrictJson.parse(text)
    } catch (error: FormatException) {
        throw if ("JSON at" in error.message) FormatException("its comment is no JSON", error) else error
    }
    return readTags(document)
}

private fun readTags(value: JsonElement): Tags = Fields(value, "", "bundle", "request", "finishing").run {
    val made = Tags(text("bundle"), get("request", ::readRequest), get("finishing", ::readFinishing))
    require(SHA256.matches(made.bundle), at("bundle")) { "is no sha256" }
    require(made.request.steps != null, at("request.steps")) { "is missing" }
    made
}

/** The body of the first INFO list, without that word; null where there is none. */
private fun infoOf(file: DataInputStream): ByteArray? {
    val head = file.upTo(12)
    if (head.size < 12 || word(head, 0) != "RIFF" || word(head, 8) != "WAVE") {
        throw FormatException("it does not begin as RIFF WAVE")
    }
    repeat(MOST_CHUNKS) {
        val header = file.upTo(8)
        if (header.size < 8) return null
        val size = sizeAt(header, 4)
        if (word(header, 0) == "LIST" && size >= 4) {
            val body = listBody(file, size)
            if (word(body, 0) == "INFO") return body.copyOfRange(4, body.size)
            file.skipExactly(size % 2)
        } else {
            file.skipExactly(size + size % 2)
        }
    }
    return null
}

private fun listBody(file: DataInputStream, size: Long): ByteArray {
    if (size > MAX_INFO_BYTES) throw FormatException("its list of $size bytes is too large")
    return file.upTo(size.toInt()).also { if (it.size < size) throw FormatException("it is truncated") }
}

private fun textsOf(info: ByteArray): Map<String, ByteArray> {
    val texts = LinkedHashMap<String, ByteArray>()
    var position = 0
    while (position + 8 <= info.size) {
        val size = sizeAt(info, position + 4)
        val start = position + 8
        if (start + size > info.size) throw FormatException("its list is truncated")
        val end = (start + size.toInt() downTo start + 1).firstOrNull { info[it - 1] != 0.toByte() } ?: start
        texts[word(info, position)] = info.copyOfRange(start, end)
        position = start + size.toInt() + (size % 2).toInt()
    }
    return texts
}

private fun word(data: ByteArray, at: Int): String = String(data, at, 4, Charsets.ISO_8859_1)

private fun sizeAt(data: ByteArray, at: Int): Long =
    ByteBuffer.wrap(data).order(ByteOrder.LITTLE_ENDIAN).getInt(at).toLong() and 0xFFFFFFFFL

/** The next [count] bytes, or as many as there are. */
private fun DataInputStream.upTo(count: Int): ByteArray {
    val data = ByteArray(count)
    var filled = 0
    while (filled < count) {
        val read = read(data, filled, count - filled)
        if (read < 0) break
        filled += read
    }
    return data.copyOf(filled)
}

private fun DataInputStream.skipExactly(count: Long) {
    var left = count
    try {
        while (left > 0) {
            val skipped = skip(left)
            if (skipped > 0) {
                left -= skipped
            } else if (readByte() >= Byte.MIN_VALUE) {
                left--
            }
        }
    } catch (_: EOFException) {
        return
    }
}
