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
 * How a program is to be run: on so many [threads] of the CPU, by default one for each fast core; [float16] where it
 * can.
 */
public data class ProgramOptions(val threads: Int = Machine.fastCores(), val float16: Boolean = false)

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
     * Loads the program in [file], called [role] in messages. Its [signature] says in which order the program's own
     * inputs and outputs come (`position`), for a runtime that has no names.
     *
     * @throws BundleException the file is no program, or its inputs and outputs are others.
     * @throws MissingDependencyException the runtime's library is not here.
     */
    public fun open(file: File, role: String, signature: Signature, options: ProgramOptions): Program
}

/** Loads the program of a role: "conditioner", "dit", "decoder" or "decoder_tail". */
public fun interface OpenProgram {
    /** The program, which the caller closes. */
    public fun open(role: String): Program
}

/**
 * Opens the bundle's own programs with [engine], on so many [threads] or one for each fast core; opening throws
 * [BundleException] where a file has gone meanwhile.
 *
 * @throws UsageException the engine takes programs of another backend, or [threads] are out of range.
 */
public fun Bundle.programs(engine: Engine, threads: Int? = null): OpenProgram {
    if (manifest.backend != engine.backend) {
        throw UsageException("no engine called ${quoted(manifest.backend)}; choose from ${engine.backend}")
    }
    if (threads != null && threads !in 1..MOST_THREADS) {
        throw UsageException("threads is $threads, expected 1 to $MOST_THREADS")
    }
    return OpenProgram { role ->
        val signature = manifest.generation.programs.getValue(role)
        val options = ProgramOptions(threads ?: Machine.fastCores(), float16 = role in manifest.recipe.float16)
        requirePlain(manifest.programs.getValue(role))
        CheckedProgram(engine.open(file(manifest.programs.getValue(role)), role, signature, options), role, signature)
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
