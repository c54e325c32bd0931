package org.pytorch.executorch;

/** What a program takes or gives: here a tensor, since nothing else is asked for. */
public class EValue {
    private final Tensor tensor;

    private EValue(Tensor tensor) {
        this.tensor = tensor;
    }

    public static EValue from(Tensor tensor) {
        return new EValue(tensor);
    }

    public boolean isTensor() {
        return true;
    }

    public Tensor toTensor() {
        return tensor;
    }
}
