package org.pytorch.executorch;

import java.nio.Buffer;
import java.nio.ByteOrder;
import java.nio.FloatBuffer;
import java.nio.IntBuffer;
import java.nio.LongBuffer;
import java.nio.ShortBuffer;

/**
 * Numbers and their shape. As ExecuTorch's own, it takes direct buffers in the machine's order alone, as many numbers
 * as the shape says, and gives them back as what they are or throws IllegalStateException.
 */
public class Tensor {
    private final DType dtype;
    private final long[] shape;
    private final Buffer data;

    private Tensor(DType dtype, Buffer data, ByteOrder order, long[] shape) {
        if (!data.isDirect() || order != ByteOrder.nativeOrder()) {
            throw new IllegalArgumentException("the buffer must be direct, and in the machine's own order");
        }
        if (data.capacity() != numel(shape)) {
            throw new IllegalArgumentException(data.capacity() + " numbers for a shape of " + numel(shape));
        }
        this.dtype = dtype;
        this.shape = shape.clone();
        this.data = data;
    }

    public static Tensor fromBlob(FloatBuffer data, long[] shape) {
        return new Tensor(DType.FLOAT, data, data.order(), shape);
    }

    public static Tensor fromBlob(ShortBuffer data, long[] shape) {
        return new Tensor(DType.HALF, data, data.order(), shape);
    }

    public static Tensor fromBlob(IntBuffer data, long[] shape) {
        return new Tensor(DType.INT32, data, data.order(), shape);
    }

    public static Tensor fromBlob(LongBuffer data, long[] shape) {
        return new Tensor(DType.INT64, data, data.order(), shape);
    }

    public DType dtype() {
        return dtype;
    }

    public long[] shape() {
        return shape.clone();
    }

    public long numel() {
        return numel(shape);
    }

    public static long numel(long[] shape) {
        long count = 1;
        for (long size : shape) {
            count *= size;
        }
        return count;
    }

    Buffer data() {
        return data;
    }

    public float[] getDataAsFloatArray() {
        float[] numbers = new float[sizeOf(DType.FLOAT)];
        ((FloatBuffer) data).duplicate().get(numbers);
        return numbers;
    }

    public short[] getDataAsShortArray() {
        short[] numbers = new short[sizeOf(DType.HALF)];
        ((ShortBuffer) data).duplicate().get(numbers);
        return numbers;
    }

    public int[] getDataAsIntArray() {
        int[] numbers = new int[sizeOf(DType.INT32)];
        ((IntBuffer) data).duplicate().get(numbers);
        return numbers;
    }

    public long[] getDataAsLongArray() {
        long[] numbers = new long[sizeOf(DType.INT64)];
        ((LongBuffer) data).duplicate().get(numbers);
        return numbers;
    }

    private int sizeOf(DType asked) {
        if (asked != dtype) {
            throw new IllegalStateException("a tensor of " + dtype + " cannot return " + asked);
        }
        return data.capacity();
    }
}
