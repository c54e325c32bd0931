package org.pytorch.executorch;

import com.sun.jna.Memory;
import com.sun.jna.Native;
import com.sun.jna.NativeLibrary;
import com.sun.jna.Pointer;
import com.sun.jna.ptr.PointerByReference;
import java.io.Closeable;
import java.lang.ref.Reference;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.Arrays;

/**
 * Real programs on a JVM of 64 bits: libedge-program, named by the property edge.program, as
 * runtime_native/include/edge_program.h describes it. As ExecuTorch's own, it gives what the next call writes over.
 */
public class Module implements Closeable {
    public static final int LOAD_MODE_FILE = 0;
    public static final int LOAD_MODE_MMAP = 1;

    private static final String METHOD = "forward";
    private static final long WORD = 8;
    private static final long TENSOR_BYTES = 5 * WORD;
    private static final long OPTIONS_BYTES = 9 * WORD;
    private static final long DESCRIPTION_BYTES = 6 * WORD;
    private static final int MESSAGE_BYTES = 2048;
    private static final NativeLibrary NATIVE = NativeLibrary.getInstance(System.getProperty("edge.program"));

    private final int takes;
    private final Tensor[] gives;
    private Pointer program;

    private Module(Pointer program) {
        this.program = program;
        Memory description = zeros(DESCRIPTION_BYTES);
        call("edge_program_describe", program, description);
        takes = (int) description.getLong(WORD);
        gives = new Tensor[(int) description.getLong(3 * WORD)];
        for (int index = 0; index < gives.length; index++) {
            gives[index] = described(description.getPointer(2 * WORD).share(TENSOR_BYTES * index));
        }
    }

    public static Module load(String path, int loadMode, int threads) {
        Memory name = new Memory(path.getBytes().length + 1L);
        name.setString(0, path);
        Memory options = zeros(OPTIONS_BYTES);
        options.setPointer(0, name);
        options.setInt(2 * WORD + Integer.BYTES, threads);
        PointerByReference made = new PointerByReference();
        call("edge_program_open", options, made);
        Reference.reachabilityFence(name);
        return new Module(made.getValue());
    }

    public synchronized void loadMethod(String name) {
        require(name);
    }

    public synchronized EValue[] execute(String name, EValue... inputs) {
        require(name);
        Tensor[] given = Arrays.stream(inputs).map(EValue::toTensor).toArray(Tensor[]::new);
        if (given.length != takes) {
            throw new IllegalArgumentException(given.length + " inputs, and the program takes " + takes);
        }
        call("edge_program_run", program, list(given), (long) takes, list(gives), (long) gives.length);
        Reference.reachabilityFence(given);
        return Arrays.stream(gives).map(EValue::from).toArray(EValue[]::new);
    }

    public synchronized void destroy() {
        if (program != null) {
            NATIVE.getFunction("edge_program_free").invokeVoid(new Object[] {program});
        }
        program = null;
    }

    @Override
    public void close() {
        destroy();
    }

    private void require(String method) {
        if (program == null) {
            throw new IllegalStateException("Module has been destroyed");
        }
        if (!METHOD.equals(method)) {
            throw new IllegalArgumentException("no method " + method);
        }
    }

    /** A tensor as edge_tensor describes it, with memory of its own. */
    private static Tensor described(Pointer at) {
        long[] shape = at.getPointer(2 * WORD).getLongArray(0, (int) at.getLong(3 * WORD));
        ByteBuffer data = ByteBuffer.allocateDirect((int) at.getLong(4 * WORD)).order(ByteOrder.nativeOrder());
        String dtype = at.getPointer(WORD).getString(0);
        return switch (dtype) {
            case "float32" -> Tensor.fromBlob(data.asFloatBuffer(), shape);
            case "float16" -> Tensor.fromBlob(data.asShortBuffer(), shape);
            case "int32" -> Tensor.fromBlob(data.asIntBuffer(), shape);
            case "int64" -> Tensor.fromBlob(data.asLongBuffer(), shape);
            default -> throw new IllegalStateException("a tensor of " + dtype);
        };
    }

    /** edge_input or edge_output, one for each. */
    private static Memory list(Tensor[] tensors) {
        Memory all = zeros(2 * WORD * Math.max(1, tensors.length));
        for (int index = 0; index < tensors.length; index++) {
            all.setPointer(2 * WORD * index, Native.getDirectBufferPointer(tensors[index].data()));
            all.setLong(2 * WORD * index + WORD, tensors[index].numel() * tensors[index].dtype().bytes);
        }
        return all;
    }

    private static void call(String name, Object... arguments) {
        Memory message = zeros(MESSAGE_BYTES);
        Object[] all = Arrays.copyOf(arguments, arguments.length + 2);
        all[arguments.length] = message;
        all[arguments.length + 1] = (long) MESSAGE_BYTES;
        if (NATIVE.getFunction(name).invokeInt(all) != 0) {
            throw new IllegalStateException(message.getString(0, "UTF-8"));
        }
    }

    private static Memory zeros(long bytes) {
        Memory memory = new Memory(bytes);
        memory.clear();
        return memory;
    }
}
