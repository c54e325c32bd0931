package dev.edgeexport.core

import kotlinx.coroutines.flow.Flow
import kotlinx.coroutines.flow.FlowCollector
import kotlinx.coroutines.flow.flow

/**
 * Runs a bundle's programs on recorded inputs, so that one stage's error cannot hide in another's.
 *
 * It knows the [tensors] of a record or of golden vectors, not how near is near enough.
 */
internal class Replay(
    private val spec: GenerationSpec,
    private val programs: OpenProgram,
    private val tensors: Tensors,
) {
    private val loop = Loop(spec, programs)
    private val conditioner = spec.programs.getValue("conditioner")

    /** What the conditioner handed to the dit. */
    val conditioning: Tensors = conditioner.outputs.associate { it.name to tensors.getValue(it.name) }

    /** Every program on the inputs that the tensors hold; the decoder makes so many [samples] of sound. */
    fun events(samples: Long): Flow<Event> = flow {
        val inputs = conditioner.inputs.associate { it.name to tensors.getValue(it.name) }
        with(loop) { condition(inputs) }
        replayDit()
        with(loop) { decode(tensors.getValue("latent").toFloatArray(), samples) }
    }

    private suspend fun FlowCollector<Event>.replayDit() {
        val latents = tensors.getValue("step_latent")
        val sigmas = tensors.getValue("sigmas").toFloatArray()
        val steps = latents.shape[0].toInt()
        Stage("dit", programs, steps).use { dit ->
            for (index in 0 until steps) {
                val velocity = dit.velocity(latents.entry(index), sigmas[index], conditioning)
                refuseUnsound(velocity.toFloatArray(), index)
                emit(dit.event(mapOf("velocity" to velocity)))
            }
        }
    }

    /** The dit on the recorded noise, each step on what it made of the one before; and that decoded. */
    fun wholeRun(): Flow<Event> = flow {
        val noise = tensors.getValue("noise")
        var drawn = 0
        val draw = { noise.entry(drawn++).toFloatArray() }
        val sigmas = tensors.getValue("sigmas").toFloatArray()
        with(loop) { decode(stepsFrom(draw(), draw, sigmas, conditioning), spec.latent.samples) }
    }

    /** The tensors, with what the programs made of them in place of what they held. */
    fun replayed(events: List<Event>): Tensors {
        val stages = events.groupBy { it.stage }
        val velocities = stages.getValue("dit").map { it.tensors.getValue("velocity") }
        return tensors + stages.getValue("conditioner").first().tensors +
            mapOf("step_velocity" to Tensor.stacked(velocities), "audio" to audioOf(stages))
    }
}
