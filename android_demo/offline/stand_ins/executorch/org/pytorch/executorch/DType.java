package org.pytorch.executorch;

/** The types of numbers that the SDK's tensors have, by ExecuTorch's names. */
public enum DType {
    INT32(4),
    INT64(8),
    HALF(2),
    FLOAT(4);

    final int bytes;

    DType(int bytes) {
        this.bytes = bytes;
    }
}
