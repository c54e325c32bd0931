package dev.edgeexport.core

import java.nio.ByteBuffer
import java.nio.ByteOrder

/** What a tensor's numbers are; [label] is the manifest's word, [bytes] the size of one. */
public enum class DType(public val label: String, public val bytes: Int) {
    FLOAT32("float32", 4),
    FLOAT16("float16", 2),
    INT32("int32", 4),
    INT64("int64", 8),
    ;

    override fun toString(): String = label

    internal companion object {
        val LABELS = entries.joinToString { it.label }

        fun of(label: String): DType? = entries.find { it.label == label }
    }
}

/** Tensors by name. */
public typealias Tensors = Map<String, Tensor>

/** dtype and shape: what is compared, and how messages write it. */
internal data class Form(val dtype: DType, val shape: List<Long>) {
    override fun toString(): String = "$dtype$shape"
}

/**
 * Numbers with a dtype and a shape, little-endian and in C order. It knows no arithmetic.
 *
 * @property data exactly the tensor's bytes, from position 0 to the limit; nobody writes to it once it is handed on.
 */
public class Tensor(public val dtype: DType, public val shape: List<Long>, data: ByteBuffer) {
    public val data: ByteBuffer = data.slice().order(ByteOrder.LITTLE_ENDIAN)

    internal val form get() = Form(dtype, shape)

    init {
        require(this.data.remaining().toLong() == byteCount(dtype, shape)) {
            "${this.data.remaining()} bytes are not $form"
        }
    }

    /** A copy of the numbers, where they are float32. */
    public fun toFloatArray(): FloatArray {
        check(dtype == DType.FLOAT32) { "$form holds no float32" }
        return FloatArray(data.remaining() / Float.SIZE_BYTES).also { view().asFloatBuffer().get(it) }
    }

    /** A copy of the numbers, where they are int32. */
    public fun toIntArray(): IntArray {
        check(dtype == DType.INT32) { "$form holds no int32" }
        return IntArray(data.remaining() / Int.SIZE_BYTES).also { view().asIntBuffer().get(it) }
    }

    /** The same bytes, to be read from the beginning whoever else reads them. */
    internal fun view(): ByteBuffer = data.duplicate().order(ByteOrder.LITTLE_ENDIAN)

    /** Entry [index] of the first axis, without copying; it keeps the axis, which is 1 long. */
    internal fun entry(index: Int): Tensor {
        val one = listOf(1L) + shape.drop(1)
        val size = byteCount(dtype, one).toInt()
        val part = view().apply { limit((index + 1) * size).position(index * size) }
        return Tensor(dtype, one, part)
    }

    override fun toString(): String = form.toString()

    public companion object {
        /** A float32 tensor of these [values], which are copied. */
        public fun of(shape: List<Long>, values: FloatArray): Tensor {
            val data = allocate(values.size.toLong() * Float.SIZE_BYTES)
            data.asFloatBuffer().put(values)
            return Tensor(DType.FLOAT32, shape, data)
        }

        /** An int32 tensor of these [values], which are copied. */
        public fun of(shape: List<Long>, values: IntArray): Tensor {
            val data = allocate(values.size.toLong() * Int.SIZE_BYTES)
            data.asIntBuffer().put(values)
            return Tensor(DType.INT32, shape, data)
        }

        /** [parts] of one form, [1, ...], along their first axis; there is at least one. */
        internal fun stacked(parts: List<Tensor>): Tensor {
            val shape = listOf(parts.sumOf { it.shape[0] }) + parts[0].shape.drop(1)
            val data = allocate(byteCount(parts[0].dtype, shape))
            for (part in parts) data.put(part.view())
            data.flip()
            return Tensor(parts[0].dtype, shape, data)
        }
    }
}

/** The product of [shape], or more than [most] where it is more. */
internal fun elementsOf(shape: List<Long>, most: Long): Long {
    if (0L in shape) return 0
    return shape.fold(1L) { product, size -> if (product > most || size > most / product) most + 1 else product * size }
}

internal fun byteCount(dtype: DType, shape: List<Long>): Long =
    elementsOf(shape, most = Long.MAX_VALUE / 16) * dtype.bytes

/** An empty little-endian buffer; [GenerationException] where no array is so long. */
internal fun allocate(bytes: Long): ByteBuffer {
    if (bytes > Int.MAX_VALUE - 16) throw GenerationException("a tensor of $bytes bytes does not fit into memory here")
    return ByteBuffer.allocate(bytes.toInt()).order(ByteOrder.LITTLE_ENDIAN)
}

internal fun FloatArray.allFinite(): Boolean = all { it.isFinite() }

/** Whether no number is NaN or infinite; whole numbers never are. */
internal fun Tensor.isFinite(): Boolean = when (dtype) {
    DType.FLOAT32 -> view().asFloatBuffer().let { numbers -> (0 until numbers.limit()).all { numbers[it].isFinite() } }

    DType.FLOAT16 -> view().asShortBuffer().let { numbers ->
        (0 until numbers.limit()).all { numbers[it].toInt() and HALF_EXPONENT != HALF_EXPONENT }
    }

    DType.INT32, DType.INT64 -> true
}

private const val HALF_EXPONENT = 0x7C00
