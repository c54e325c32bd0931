package dev.edgeexport.demo

import dev.edgeexport.core.DType
import dev.edgeexport.core.Engine
import dev.edgeexport.core.Estimate
import dev.edgeexport.core.Program
import dev.edgeexport.core.ProgramFile
import dev.edgeexport.core.ProgramOptions
import dev.edgeexport.core.Tensor
import dev.edgeexport.core.Tensors
import kotlin.math.sin

/** Programs that give tones of the right shape, whatever they are given; their numbers are no model's. */
internal class StandIn : Engine {
    override val backend = "executorch"
    override val version = "stand-in"
    override val overhead = Estimate(0, 0)

    /** Called before each run, with the program's role, on the generator's thread. */
    @Volatile
    var beforeRun: (String) -> Unit = {}

    /** Roles in the order of their runs. */
    val runs: List<String> get() = synchronized(log) { log.toList() }
    private val log = ArrayList<String>()

    /** Programs that are open. */
    @Volatile
    var open = 0
        private set

    override fun open(program: ProgramFile, options: ProgramOptions): Program {
        open++
        return object : Program {
            private var isOpen = true

            override fun run(inputs: Tensors): Tensors {
                check(isOpen) { "${program.role} is closed" }
                beforeRun(program.role)
                synchronized(log) { log += program.role }
                return program.signature.outputs.associate { output ->
                    check(output.dtype == DType.FLOAT32)
                    val size = output.shape.reduce(Long::times).toInt()
                    output.name to Tensor.of(output.shape, FloatArray(size) { LOUD * sin(it * TONE).toFloat() })
                }
            }

            override fun close() {
                if (isOpen) open--
                isOpen = false
            }
        }
    }

    private companion object {
        const val LOUD = 0.5f
        const val TONE = 0.06
    }
}
