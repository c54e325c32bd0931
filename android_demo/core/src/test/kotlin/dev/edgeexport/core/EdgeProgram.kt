package dev.edgeexport.core

import com.sun.jna.Memory
import com.sun.jna.NativeLibrary
import com.sun.jna.Pointer
import com.sun.jna.ptr.PointerByReference
import java.io.File
import java.nio.ByteBuffer
import java.nio.ByteOrder

private const val MESSAGE_BYTES = 2048L
private const val WORD = 8L
private const val TENSOR_BYTES = 5 * WORD
private const val OPTIONS_BYTES = 9 * WORD
private const val ENGINE_VERSION = 3 * WORD

/** Real programs, on machines of 64 bits: libedge-program, as runtime_native/include/edge_program.h describes it. */
class EdgeProgram(library: File) : Engine {
    private val native = NativeLibrary.getInstance(library.path)
    override val backend = "executorch"
    override val version: String =
        native.getFunction("edge_program_version").invokePointer(emptyArray()).getPointer(ENGINE_VERSION).getString(0)
    override val overhead = Estimate(mappedBytes = 6_000_000, privateBytes = 5_000_000)

    override fun open(program: ProgramFile, options: ProgramOptions): Program {
        val role = program.role
        val inputs = program.signature.inputs.sortedBy { it.position }
        val outputs = program.signature.outputs.sortedBy { it.position }
        val made = PointerByReference()
        Arena().use { arena ->
            val asked = arena.memory(OPTIONS_BYTES)
            asked.setPointer(0, arena.text(program.file.path))
            asked.setPointer(WORD, arena.text(program.sha256))
            asked.setInt(2 * WORD, 1)
            asked.setInt(2 * WORD + Int.SIZE_BYTES, options.threads)
            options.packedWeights?.let { asked.setPointer(3 * WORD, arena.text(it.path)) }
            asked.setLong(4 * WORD, program.keptBytes)
            asked.setPointer(5 * WORD, arena.tensors(inputs))
            asked.setLong(6 * WORD, inputs.size.toLong())
            asked.setPointer(7 * WORD, arena.tensors(outputs))
            asked.setLong(8 * WORD, outputs.size.toLong())
            call(role, "edge_program_open", asked, made)
        }
        return Opened(made.value, role, inputs, outputs)
    }

    private inner class Opened(
        private val program: Pointer,
        private val role: String,
        private val takes: List<TensorSpec>,
        private val gives: List<TensorSpec>,
    ) : Program {
        private var open = true

        override fun run(inputs: Tensors): Tensors = Arena().use { arena ->
            val given = takes.map { arena.copy(inputs.getValue(it.name)) }
            val made = gives.map { arena.memory(byteCount(it.dtype, it.shape)) }
            val (taken, filled) = listOf(given, made).map(arena::list)
            val counts = listOf(given, made).map { it.size.toLong() }
            call(role, "edge_program_run", program, taken, counts[0], filled, counts[1])
            gives.indices.associate { gives[it].name to tensor(gives[it], made[it]) }
        }

        override fun close() {
            if (open) native.getFunction("edge_program_free").invokeVoid(arrayOf(program))
            open = false
        }
    }

    private fun tensor(spec: TensorSpec, memory: Memory): Tensor {
        val bytes = memory.getByteArray(0, memory.size().toInt())
        return Tensor(spec.dtype, spec.shape, ByteBuffer.wrap(bytes).order(ByteOrder.LITTLE_ENDIAN))
    }

    private fun call(role: String, name: String, vararg arguments: Any) = Arena().use { arena ->
        val message = arena.memory(MESSAGE_BYTES)
        val code = native.getFunction(name).invokeInt(arrayOf(*arguments, message, MESSAGE_BYTES))
        if (code != 0) throw GenerationException("$role: ${message.getString(0, "UTF-8")}")
    }
}

/** Memory that a call may read and write, all of it there until this is closed. */
private class Arena : AutoCloseable {
    private val all = ArrayList<Memory>()

    fun memory(bytes: Long): Memory = Memory(maxOf(1, bytes)).also {
        it.clear()
        all += it
    }

    fun text(text: String): Memory = text.toByteArray().let { bytes ->
        memory(bytes.size + 1L).apply { write(0, bytes, 0, bytes.size) }
    }

    fun copy(tensor: Tensor): Memory = ByteArray(tensor.data.limit()).let { bytes ->
        tensor.view().get(bytes)
        memory(bytes.size.toLong()).apply { write(0, bytes, 0, bytes.size) }
    }

    /** edge_input or edge_output, one for each. */
    fun list(parts: List<Memory>): Memory = memory(2 * WORD * parts.size).apply {
        for ((index, part) in parts.withIndex()) {
            setPointer(2 * WORD * index, part)
            setLong(2 * WORD * index + WORD, part.size())
        }
    }

    /** edge_tensor, one for each. */
    fun tensors(specs: List<TensorSpec>): Memory = memory(TENSOR_BYTES * specs.size).apply {
        for ((index, spec) in specs.withIndex()) {
            val shape = memory(WORD * spec.shape.size).apply { write(0, spec.shape.toLongArray(), 0, spec.shape.size) }
            for ((place, part) in listOf(text(spec.name), text(spec.dtype.label), shape).withIndex()) {
                setPointer(TENSOR_BYTES * index + WORD * place, part)
            }
            setLong(TENSOR_BYTES * index + 3 * WORD, spec.shape.size.toLong())
        }
    }

    override fun close() = all.forEach { it.close() }
}
