package dev.edgeexport.core

// Golden vectors: what the fp32 reference makes of one request, stage by stage, for every runtime to replay. The record
// of a run holds the same tensors under the same names. It does not know how near is near enough.
//
// | tensor            | shape                             | what                                              |
// |-------------------|-----------------------------------|---------------------------------------------------|
// | `input_ids`       | int32 [1, tokens]                 | the tokenizer's                                   |
// | `prompt_mask`     | float32 [1, tokens]               | 1 for tokens of the prompt                        |
// | `seconds`         | float32 [1]                       |                                                   |
// | conditioning      | as the conditioner's outputs      | by their names                                    |
// | `noise`           | float32 [steps, channels, length] | draw 0 starts; draw i+1 re-noises after step i    |
// | `sigmas`          | float32 [steps + 1]               |                                                   |
// | `step_latent`     | float32 [steps, channels, length] | what enters each dit step                         |
// | `step_velocity`   | float32 [steps, channels, length] | what the dit makes of it                          |
// | `latent`          | float32 [1, channels, length]     | the clean latent, the decoder's input             |
// | `audio`           | float32 [audio channels, samples] | the whole clip; in a record the seconds asked for |

/** dtype and shape of every tensor of a run of so many steps and samples. */
internal fun runLayout(spec: GenerationSpec, steps: Int, samples: Long): Layout {
    val conditioner = spec.programs.getValue("conditioner")
    val perStep = Form(DType.FLOAT32, listOf(steps.toLong()) + spec.latent.shape)
    return layoutOf(conditioner.inputs + conditioner.outputs) + mapOf(
        "noise" to perStep,
        "step_latent" to perStep,
        "step_velocity" to perStep,
        "sigmas" to Form(DType.FLOAT32, listOf(steps + 1L)),
        "latent" to Form(DType.FLOAT32, listOf(1L) + spec.latent.shape),
        "audio" to Form(DType.FLOAT32, listOf(spec.audio.channels.toLong(), samples)),
    )
}

/**
 * The bundle's golden vectors, held against the manifest's shapes.
 *
 * @throws BundleException left out, no safetensors file, or not the tensors that this bundle's programs take and make.
 */
internal fun Bundle.readGolden(): Tensors {
    val path = file(manifest.golden)
    if (!hasGolden) {
        throw BundleException("$path was left out of this bundle, so nothing can be proven; copy it from the build")
    }
    val spec = manifest.generation
    val tensors = Safetensors.read(path)
    val expected = runLayout(spec, manifest.golden.request.steps ?: spec.sampler.steps, spec.latent.samples)
    for (name in (expected.keys + tensors.keys).sorted()) {
        val found = tensors[name]?.form
        if (found != expected[name]) {
            val isNow = found ?: "missing"
            val wanted = expected[name] ?: "nothing of that name"
            throw BundleException("$path: ${name.firstPoints(60)} is $isNow, expected $wanted; rebuild the bundle")
        }
    }
    return tensors
}

/** What the [events] of one generation took and made; [conditioning]: where it was known, and no event has it. */
internal fun tensorsOf(
    spec: GenerationSpec,
    request: Request,
    prompt: Prompt,
    events: List<Event>,
    conditioning: Tensors? = null,
): Tensors {
    val stages = events.groupBy { it.stage }
    val steps = stages.getValue("dit").map { it.tensors }
    val sigmas = spec.sampler.schedule(request.steps)
    val noise = latentNoise(spec, request.seed)
    val shape = listOf(1L) + spec.latent.shape
    val conditioned = conditioning ?: stages.getValue("conditioner").first().tensors
    return conditionerInputs(request, prompt) + conditioned + mapOf(
        "sigmas" to Tensor.of(listOf(sigmas.size.toLong()), sigmas),
        "noise" to Tensor.stacked(steps.map { Tensor.of(shape, noise()) }),
        "step_latent" to Tensor.stacked(steps.map { it.getValue("latent") }),
        "step_velocity" to Tensor.stacked(steps.map { it.getValue("velocity") }),
        "latent" to steps.last().getValue("clean"),
        "audio" to audioOf(stages),
    )
}

/** The sound that the decoder's events hold, [channels, samples]. */
internal fun audioOf(stages: Map<String, List<Event>>): Tensor {
    val pieces = stages.getValue("decoder").map { it.tensors.getValue("audio") }
    val audio = joined(pieces, sampleRate = 1)
    val shape = listOf(audio.channels.size.toLong(), audio.samples.toLong())
    return Tensor.of(
        shape,
        FloatArray(audio.channels.size * audio.samples) {
            audio.channels[it / audio.samples][it % audio.samples]
        },
    )
}
