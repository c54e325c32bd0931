package dev.edgeexport.core

/**
 * Programs of plain float32 arithmetic, as tests/fixtures/standin.py has them: whole generations are equal to the byte.
 *
 * conditioner: base = sum(input_ids) * 0.001 + seconds; output number i is filled with base + i. dit: velocity =
 * latent * 0.5 + sigma * (the first number of the conditioner's last output). decoder: sample t of channel c is
 * latent[c, t / hop] * 0.25; or, where it has a tail, feature t of channel c is latent[c, t / rate] * 0.5. decoder_tail:
 * sample t of channel c is features[c, t / hop] * 0.5 + (t / hop) / 1024.
 */
internal class StandIn(private val spec: GenerationSpec) : Engine {
    override val backend = "executorch"
    override val version = "stand-in"
    override val overhead = Estimate(0, 0)

    /** What happened, in order: "open dit", "run dit", "close dit". */
    val log = ArrayList<String>()
    val opened get() = log.count { it.startsWith("open") }
    val closed get() = log.count { it.startsWith("close") }

    /** Of the program that was opened last. */
    var asked: ProgramOptions? = null

    /** Called before each run, with the program's role. */
    var beforeRun: (String) -> Unit = {}

    /** What becomes of outputs. */
    var spoil: (role: String, outputs: Tensors) -> Tensors = { _, outputs -> outputs }

    override fun open(program: ProgramFile, options: ProgramOptions): Program {
        val role = program.role
        asked = options
        note("open $role")
        return object : Program {
            private var isOpen = true

            override fun run(inputs: Tensors): Tensors {
                check(isOpen) { "$role is closed" }
                beforeRun(role)
                note("run $role")
                return spoil(role, made(role, inputs))
            }

            override fun close() {
                if (isOpen) note("close $role")
                isOpen = false
            }
        }
    }

    private fun note(what: String) = synchronized(log) { log += what }

    private fun made(role: String, inputs: Tensors): Tensors = when (role) {
        "conditioner" -> condition(inputs)
        "dit" -> velocity(inputs)
        "decoder" -> spec.features?.let { features(inputs, it.rate) } ?: sound(inputs)
        else -> tailSound(inputs)
    }

    private fun condition(inputs: Tensors): Tensors {
        val ids = inputs.getValue("input_ids").toIntArray().sum()
        val base = ids.toFloat() * 0.001f + inputs.getValue("seconds").toFloatArray()[0]
        return spec.programs.getValue("conditioner").outputs.withIndex().associate { (index, output) ->
            val size = output.shape.reduce(Long::times).toInt()
            output.name to Tensor.of(output.shape, FloatArray(size) { base + index })
        }
    }

    private fun velocity(inputs: Tensors): Tensors {
        val last = spec.programs.getValue("conditioner").outputs.last().name
        val added = inputs.getValue("sigma").toFloatArray()[0] * inputs.getValue(last).toFloatArray()[0]
        val latent = inputs.getValue("latent")
        val numbers = latent.toFloatArray()
        return mapOf("velocity" to Tensor.of(latent.shape, FloatArray(numbers.size) { numbers[it] * 0.5f + added }))
    }

    private fun sound(inputs: Tensors): Tensors {
        val latent = inputs.getValue("latent")
        return mapOf("audio" to repeated(latent, spec.audio.channels, spec.latent.hop) { it, _ -> it * 0.25f })
    }

    private fun features(inputs: Tensors, rate: Int): Tensors {
        val channels = spec.programs.getValue("decoder").outputs.single().shape[1].toInt()
        return mapOf("features" to repeated(inputs.getValue("latent"), channels, rate) { it, _ -> it * 0.5f })
    }

    private fun tailSound(inputs: Tensors): Tensors {
        val features = inputs.getValue("features")
        val sound = repeated(features, spec.audio.channels, spec.tailHop) { it, place -> it * 0.5f + place / 1024f }
        return mapOf("audio" to sound)
    }

    /** What [made] makes of each number of the first [channels], and of its place, so many [times]. */
    private fun repeated(given: Tensor, channels: Int, times: Int, made: (Float, Int) -> Float): Tensor {
        val numbers = given.toFloatArray()
        val length = given.shape[2].toInt()
        val all = FloatArray(channels * length * times) { made(numbers[it / times], it / times % length) }
        return Tensor.of(listOf(1L, channels.toLong(), length.toLong() * times), all)
    }
}

/** The tiny bundle with stand-ins for its programs. */
internal fun standIn(bundle: Bundle = Bundle.open(TINY_BUNDLE), keepLoaded: Boolean = true): Pair<Generator, StandIn> {
    val engine = StandIn(bundle.manifest.generation)
    return Generator(bundle, engine, keepLoaded = keepLoaded) to engine
}
