package dev.edgeexport.core

import kotlinx.serialization.json.JsonArray
import kotlinx.serialization.json.JsonElement
import kotlinx.serialization.json.JsonObject
import kotlinx.serialization.json.JsonPrimitive
import java.io.File
import java.nio.ByteBuffer
import java.nio.ByteOrder

/**
 * Reads safetensors files: named tensors behind a table of JSON, nothing that can run. It does not know what they are
 * for.
 *
 * Format: https://github.com/huggingface/safetensors#format
 */
internal object Safetensors {
    private const val MAX_BYTES = 1L shl 30
    private const val MAX_HEADER = 1L shl 20
    private const val MAX_DIMENSIONS = 8
    private const val LENGTH = 8
    private val DTYPES =
        mapOf("F32" to DType.FLOAT32, "F16" to DType.FLOAT16, "I32" to DType.INT32, "I64" to DType.INT64)
    private val KEYS = setOf("dtype", "shape", "data_offsets")

    /** The tensors of a file by name; [BundleException] where it cannot be read, or is no such file. */
    fun read(file: File): Tensors = try {
        if (file.length() > MAX_BYTES) throw FormatException("is larger than ${MAX_BYTES shr 20} MiB")
        parse(readBytes(file, "check its permissions"))
    } catch (error: FormatException) {
        throw BundleException("$file holds no golden vectors (${error.message}); rebuild the bundle", error)
    }

    /** The tensors in the bytes of a file; [FormatException] says what is wrong with them. */
    fun parse(data: ByteArray): Tensors {
        val size = if (data.size < LENGTH) -1 else ByteBuffer.wrap(data).order(ByteOrder.LITTLE_ENDIAN).getLong(0)
        if (size !in 0..minOf(MAX_HEADER, data.size.toLong() - LENGTH)) {
            throw FormatException("it is truncated, or has too long a table")
        }
        val text = textOf(data.copyOfRange(LENGTH, LENGTH + size.toInt())) ?: throw FormatException("it is not UTF-8")
        val table = StrictJson.parse(text) as? JsonObject ?: throw FormatException("it has no table of tensors")
        val body = ByteBuffer.wrap(data, LENGTH + size.toInt(), data.size - LENGTH - size.toInt()).slice()
        return table.filterKeys { it != "__metadata__" }.mapValues { (name, entry) -> tensor(name, entry, body) }
    }

    /** One tensor out of {"dtype", "shape", "data_offsets"}; its bytes are little-endian, in C order. */
    private fun tensor(name: String, entry: JsonElement, body: ByteBuffer): Tensor {
        val shown = quoted(name.firstPoints(60))
        if (entry !is JsonObject || entry.keys != KEYS) {
            throw FormatException("$shown is not made of dtype, shape and data_offsets")
        }
        val label = entry.getValue("dtype") as? JsonPrimitive
        val dtype = if (label != null && label.isString) DTYPES[label.content] else null
        dtype ?: throw FormatException("$shown is of none of the types ${DTYPES.keys.joinToString()}")
        val shape = sizes(entry.getValue("shape"))
        val offsets = sizes(entry.getValue("data_offsets"))
        if (shape == null || offsets == null || shape.size > MAX_DIMENSIONS || offsets.size != 2) {
            throw FormatException("$shown has a shape or place that is no list of sizes")
        }
        val (begin, end) = offsets
        val inside = begin <= end && end <= body.limit()
        if (!inside || end - begin != byteCount(dtype, shape)) {
            throw FormatException("$shown lies outside the file, or has another size than its shape")
        }
        val part = body.duplicate().apply { limit(end.toInt()).position(begin.toInt()) }
        return Tensor(dtype, shape, part)
    }

    /** Whole numbers from 0 up, those beyond a Long as its largest; null where it is no such list. */
    private fun sizes(value: JsonElement): List<Long>? {
        if (value !is JsonArray || value.any { kindOf(it) != "int" }) return null
        val sizes = value.map { (it as JsonPrimitive).content.toBigInteger() }
        if (sizes.any { it.signum() < 0 }) return null
        return sizes.map { it.min(Long.MAX_VALUE.toBigInteger()).toLong() }
    }
}
