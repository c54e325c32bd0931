package org.pytorch.executorch;

import java.io.Closeable;

/** A program, as ExecuTorch's own Module of this name has it: the calls that the SDK makes, and no more. */
public class Module implements Closeable {
    static {
        System.loadLibrary("executorch");
    }

    public static final int LOAD_MODE_FILE = 0;
    public static final int LOAD_MODE_MMAP = 1;

    protected Module() {
    }

    public static native Module load(String path, int loadMode, int threads);

    public native void loadMethod(String name);

    public native EValue[] execute(String name, EValue... inputs);

    public native void destroy();

    @Override
    public void close() {
        destroy();
    }
}
