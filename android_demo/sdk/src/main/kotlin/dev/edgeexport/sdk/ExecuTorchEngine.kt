package dev.edgeexport.sdk

import dev.edgeexport.core.BundleException
import dev.edgeexport.core.DType
import dev.edgeexport.core.Engine
import dev.edgeexport.core.Estimate
import dev.edgeexport.core.GenerationException
import dev.edgeexport.core.MissingDependencyException
import dev.edgeexport.core.Program
import dev.edgeexport.core.ProgramFile
import dev.edgeexport.core.ProgramOptions
import dev.edgeexport.core.TensorSpec
import dev.edgeexport.core.Tensors
import org.pytorch.executorch.EValue
import org.pytorch.executorch.Module
import java.nio.ByteBuffer
import java.nio.ByteOrder
import dev.edgeexport.core.Tensor as CoreTensor
import org.pytorch.executorch.Tensor as ExecuTorchTensor

/**
 * Programs run by ExecuTorch for Android, `org.pytorch:executorch-android`. It does not know what tensors mean.
 *
 * Files are mapped, not read. One number of threads is for the whole process: that of the first program. Weights are
 * packed anew each time a program is loaded: the runtime's Java interface has no way to name a file for them.
 */
public class ExecuTorchEngine : Engine {
    override val backend: String = "executorch"
    override val version: String = EXECUTORCH_VERSION
    override val overhead: Estimate = Estimate(mappedBytes = 6_000_000, privateBytes = 5_000_000)

    override fun open(program: ProgramFile, options: ProgramOptions): Program {
        val module = try {
            Module.load(program.file.path, Module.LOAD_MODE_MMAP, options.threads)
        } catch (error: UnsatisfiedLinkError) {
            throw MissingDependencyException("ExecuTorch's library is not in this app for this CPU", error)
        } catch (error: RuntimeException) {
            throw BundleException("${program.file} is no program that ExecuTorch runs: ${error.message}", error)
        }
        return try {
            module.loadMethod(METHOD)
            Opened(module, program)
        } catch (error: RuntimeException) {
            module.destroy()
            throw BundleException("${program.file} cannot be loaded: ${error.message}", error)
        }
    }

    private class Opened(private val module: Module, private val file: ProgramFile) : Program {
        private val takes = file.signature.inputs.sortedBy { it.position }
        private val gives = file.signature.outputs.sortedBy { it.position }
        private var open = true

        override fun run(inputs: Tensors): Tensors {
            val given = takes.map { EValue.from(executorch(inputs.getValue(it.name))) }
            val made = try {
                module.execute(METHOD, *given.toTypedArray())
            } catch (error: RuntimeException) {
                throw GenerationException("${file.role}: ExecuTorch failed: ${error.message}", error)
            }
            if (made.size != gives.size) {
                throw GenerationException("${file.role}: ${made.size} outputs, expected ${gives.size}")
            }
            return gives.indices.associate { gives[it].name to own(gives[it], made[it].toTensor()) }
        }

        override fun close() {
            if (open) module.destroy()
            open = false
        }

        /** [tensor]'s bytes in memory that native code can read. */
        private fun executorch(tensor: CoreTensor): ExecuTorchTensor {
            val shape = tensor.shape.toLongArray()
            val data = ByteBuffer.allocateDirect(tensor.data.remaining()).order(ByteOrder.nativeOrder())
            data.put(tensor.data.duplicate())
            data.rewind()
            return when (tensor.dtype) {
                DType.FLOAT32 -> ExecuTorchTensor.fromBlob(data.asFloatBuffer(), shape)
                DType.INT32 -> ExecuTorchTensor.fromBlob(data.asIntBuffer(), shape)
                DType.INT64 -> ExecuTorchTensor.fromBlob(data.asLongBuffer(), shape)
                DType.FLOAT16 -> ExecuTorchTensor.fromBlob(data.asShortBuffer(), shape)
            }
        }

        /** A copy: what the runtime gives is its own, and the next run writes over it. */
        private fun own(spec: TensorSpec, made: ExecuTorchTensor): CoreTensor {
            val data = ByteBuffer.allocate(made.numel().toInt() * spec.dtype.bytes).order(ByteOrder.LITTLE_ENDIAN)
            try {
                when (spec.dtype) {
                    DType.FLOAT32 -> data.asFloatBuffer().put(made.dataAsFloatArray)
                    DType.INT32 -> data.asIntBuffer().put(made.dataAsIntArray)
                    DType.INT64 -> data.asLongBuffer().put(made.dataAsLongArray)
                    DType.FLOAT16 -> data.asShortBuffer().put(made.dataAsShortArray)
                }
            } catch (error: IllegalStateException) {
                throw GenerationException("${file.role}: ${spec.name} is ${made.dtype()}, not ${spec.dtype}", error)
            }
            return CoreTensor(spec.dtype, made.shape().toList(), data)
        }
    }

    private companion object {
        const val METHOD = "forward"

        /** Of the library that this is compiled against, for records; the library does not say its own. */
        const val EXECUTORCH_VERSION = "1.5.1"
    }
}
