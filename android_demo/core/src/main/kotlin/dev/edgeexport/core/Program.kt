package dev.edgeexport.core

import java.io.File

/**
 * One compiled program: named tensors in, named tensors out.
 *
 * [run] blocks until the program is done; a program is run by one thread at a time. It need not check what it is given:
 * names, dtypes and shapes are held against the manifest before and after (see [Engine]).
 */
public interface Program : AutoCloseable {
    /**
     * The outputs by name, which are the caller's own: the next run does not alter them.
     *
     * @throws GenerationException the program failed.
     */
    public fun run(inputs: Tensors): Tensors

    /** Frees it; more than once is no mistake. */
    override fun close()
}

/**
 * A program of a bundle, for an engine to open.
 *
 * @property role "conditioner", "dit", "decoder" or "decoder_tail", for messages.
 * @property sha256 of [file], which was held against it when the bundle was opened.
 * @property keptBytes what its packed weights take as a file that is kept from one start to the next; 0 where none must
 *   be, for XNNPACK would take some weights for others, or it is of no use.
 * @property signature its inputs and outputs, each with its place in the program's own order (`position`), for a
 *   runtime that has no names.
 */
public class ProgramFile(
    public val role: String,
    public val file: File,
    public val sha256: String,
    public val keptBytes: Long,
    public val signature: Signature,
)

/**
 * How a program is to be run.
 *
 * @property threads of the CPU.
 * @property float16 compute in float16 what is not int8, where the engine can.
 * @property packedWeights the folder in which packed weights are kept from one start to the next; null: they are not.
 */
public data class ProgramOptions(val threads: Int, val float16: Boolean = false, val packedWeights: File? = null)

/**
 * A runtime for programs, such as ExecuTorch. It does not know what tensors mean.
 *
 * An implementation loads a file and runs it; that inputs and outputs are those of the manifest is checked around it.
 */
public interface Engine {
    /** The manifest's word for programs that this engine takes: "executorch", "litert". */
    public val backend: String

    /** Of the runtime below, for records; empty where it does not say. */
    public val version: String

    /** What the runtime takes of memory for itself with the first program, whatever the program is. */
    public val overhead: Estimate

    /**
     * Loads [program]. A folder of packed weights that cannot be used costs time, never the program.
     *
     * @throws BundleException the file is no program, or its inputs and outputs are others.
     * @throws MissingDependencyException the runtime's library is not here.
     */
    public fun open(program: ProgramFile, options: ProgramOptions): Program
}

/** Loads the program of a role. */
internal fun interface OpenProgram {
    /** The program, which the caller closes. */
    fun open(role: String): Program
}

/**
 * Opens the bundle's own programs with [engine]; opening throws [BundleException] where a file has gone meanwhile.
 *
 * @throws UsageException the engine takes programs of another backend, or [threads] are out of range.
 */
internal fun Bundle.programs(engine: Engine, threads: Int, packedWeights: File?): OpenProgram {
    if (manifest.backend != engine.backend) {
        throw UsageException("no engine called ${quoted(manifest.backend)}; choose from ${engine.backend}")
    }
    if (threads !in 1..MOST_THREADS) throw UsageException("threads is $threads, expected 1 to $MOST_THREADS")
    return OpenProgram { role ->
        val spec = manifest.programs.getValue(role)
        val signature = manifest.generation.programs.getValue(role)
        requirePlain(spec)
        val program = ProgramFile(role, file(spec), spec.sha256, spec.memory.keptBytes, signature)
        val options = ProgramOptions(threads, float16 = role in manifest.recipe.float16, packedWeights)
        CheckedProgram(engine.open(program, options), role, signature)
    }
}

private const val MOST_THREADS = 256

/** [program], whose inputs and outputs are held against [signature] at each run. */
private class CheckedProgram(
    private val program: Program,
    private val role: String,
    private val signature: Signature,
) : Program {
    override fun run(inputs: Tensors): Tensors {
        check("inputs", signature.inputs, inputs)
        return program.run(inputs).also { check("outputs", signature.outputs, it) }
    }

    override fun close() = program.close()

    private fun check(side: String, expected: List<TensorSpec>, found: Tensors) {
        val names = expected.map { it.name }.toSortedSet()
        if (names != found.keys) {
            val wrong = ((names - found.keys) + (found.keys - names)).sorted()
            throw GenerationException("$role: $side are ${quoted(names)}; these do not match: ${quoted(wrong)}")
        }
        for (spec in expected) {
            val form = found.getValue(spec.name).form
            if (form != spec.form) throw GenerationException("$role: ${spec.name} is $form, expected ${spec.form}")
        }
    }
}
