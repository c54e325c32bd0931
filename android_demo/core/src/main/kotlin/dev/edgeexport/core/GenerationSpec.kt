package dev.edgeexport.core

import kotlinx.serialization.json.JsonElement
import kotlin.math.abs
import kotlin.math.min

/**
 * The loop's stages in their order, each with the roles of its programs, which are loaded together. There is a
 * decoder_tail where [GenerationSpec.features] say so.
 */
internal val STAGES = mapOf(
    "conditioner" to listOf("conditioner"),
    "dit" to listOf("dit"),
    "decoder" to listOf("decoder", DECODER_TAIL),
)

/** What programs are to the loop, in the order they run. */
internal val ROLES = STAGES.values.flatten()

internal const val DECODER_TAIL = "decoder_tail"

internal const val MAX_ELEMENTS = 1L shl 31

/** Recorded sigmas and those that a runtime makes from the sampler's parameters agree to this. */
private const val SIGMA_ERROR = 1e-6
private const val MOST_TOKENS = 4096L
private const val MOST_HOP = 1L shl 20
private const val MOST_RATE = 1L shl 20

/** One input or output of a program. [position] is its place in the compiled program's own order. */
public data class TensorSpec(val name: String, val position: Int, val dtype: DType, val shape: List<Long>) {
    internal val form get() = Form(dtype, shape)
}

/** What goes into a program and comes out of it, in the order of the reference's signature. */
public data class Signature(val inputs: List<TensorSpec>, val outputs: List<TensorSpec>)

/** What the conditioner accepts: tokens of prompt, and the range that seconds are clamped to. */
internal data class ConditioningSpec(val tokens: Int, val secondsMin: Double, val secondsMax: Double)

/**
 * The latent: [shape] (channels, length), and [hop], the samples that one latent becomes.
 *
 * @property margin latents on either side that the sound of one latent depends on. A decoder that takes fewer latents
 *   than the clip has is run on overlapping windows; at a cut, this many latents of a window's sound are not yet right.
 */
internal data class LatentSpec(val shape: List<Long>, val hop: Int, val margin: Int) {
    /** Numbers of one latent. */
    val channels: Int get() = shape[0].toInt()

    /** Latents of the model's whole clip. */
    val length: Int get() = shape[1].toInt()

    /** Samples of the model's whole clip. */
    val samples: Long get() = shape[1] * hop
}

/**
 * What passes between the two programs of a decoder that is cut: [rate] features of one latent.
 *
 * @property margin features on either side that the sound of one depends on. The tail is run on overlapping tiles of a
 *   window's features; at a cut, this many features of a tile's sound are not yet right.
 */
internal data class FeaturesSpec(val rate: Int, val margin: Int)

/** What the decoder makes: [channels] of float samples at [sampleRate] Hz, full scale -1..1. */
internal data class AudioSpec(val sampleRate: Int, val channels: Int)

/** A kind of sampler with its parameters, and the sigmas of the default steps. */
internal data class SamplerSpec(val kind: String, val parameters: Map<String, Double>, val sigmas: List<Double>) {
    /** Steps of a request that asks for none. */
    val steps: Int get() = sigmas.size - 1

    val sampler get() = SAMPLERS.getValue(kind)

    /**
     * The sigmas recorded here, or those of another number of steps by the same parameters; there is one more than
     * steps.
     *
     * @throws UsageException steps out of range.
     */
    fun schedule(steps: Int? = null): FloatArray = if (steps == null || steps == this.steps) {
        FloatArray(sigmas.size) { sigmas[it].toFloat() }
    } else {
        sampler.sigmas(steps, parameters)
    }
}

/**
 * All that a generation must know of a model: lengths, rates, the sampler, and what goes into and out of each program.
 *
 * @property programs role -> what goes into and comes out of that program.
 * @property features of a decoder that is two programs, decoder and decoder_tail; null where it is one.
 */
internal data class GenerationSpec(
    val conditioning: ConditioningSpec,
    val latent: LatentSpec,
    val audio: AudioSpec,
    val sampler: SamplerSpec,
    val programs: Map<String, Signature>,
    val features: FeaturesSpec?,
) {
    /** The longest clip in seconds: as long as the latent, and no longer than the conditioner's range. */
    val secondsLimit: Double
        get() = min(latent.samples.toDouble() / audio.sampleRate, conditioning.secondsMax)

    /** Latents that the decoder takes at a time. */
    val window: Int get() = input("decoder", "latent").shape[2].toInt()

    /** Features that the decoder's tail takes at a time; of a decoder that has one. */
    val tile: Int get() = input(DECODER_TAIL, "features").shape[2].toInt()

    /** Samples that one feature becomes; of a decoder that has a tail. */
    val tailHop: Int get() = latent.hop / features!!.rate

    /** The input of a program; [SchemaException] where there is none of that name. */
    fun input(role: String, name: String): TensorSpec = programs.getValue(role).inputs.find { it.name == name }
        ?: throw SchemaException("generation.programs.$role.inputs", "has no ${quoted(name)}")
}

/** dtype and shape by name. */
internal typealias Layout = Map<String, Form>

internal fun layoutOf(specs: List<TensorSpec>): Layout = specs.associate { it.name to it.form }

private fun textOf(layout: Layout) = layout.entries.joinToString { "${it.key} ${it.value}" }

private fun readTensor(value: JsonElement, path: String): TensorSpec =
    Fields(value, path, "name", "position", "dtype", "shape").run {
        val name = text("name")
        val position = whole("position")
        val dtype = text("dtype")
        val shape = get("shape", listOf(::readWhole))
        require(name.isNotEmpty(), at("name")) { "is empty" }
        require(DType.of(dtype) != null, at("dtype")) { "${quoted(dtype)} is none of ${DType.LABELS}" }
        require(position >= 0, at("position")) { "is negative" }
        require(shape.all { it >= 1 }, at("shape")) { "has a size below 1" }
        require(elementsOf(shape, MAX_ELEMENTS) <= MAX_ELEMENTS, at("shape")) { "is too large to be true" }
        TensorSpec(name, position.coerceAtMost(Int.MAX_VALUE.toLong()).toInt(), DType.of(dtype)!!, shape)
    }

private fun readSignature(value: JsonElement, path: String): Signature = Fields(value, path, "inputs", "outputs").run {
    val made = Signature(get("inputs", listOf(::readTensor)), get("outputs", listOf(::readTensor)))
    for ((side, specs) in listOf("inputs" to made.inputs, "outputs" to made.outputs)) {
        require(specs.isNotEmpty(), at(side)) { "is empty" }
        require(specs.distinctBy { it.name }.size == specs.size, at(side)) { "names a tensor twice" }
        val ordered = specs.map { it.position }.sorted() == specs.indices.toList()
        require(ordered, at(side)) { "positions are not 0, 1, 2, ... each once" }
    }
    made
}

private fun readConditioning(value: JsonElement, path: String): ConditioningSpec =
    Fields(value, path, "tokens", "seconds_min", "seconds_max").run {
        val tokens = whole("tokens")
        val least = number("seconds_min")
        val most = number("seconds_max")
        require(tokens in 1..MOST_TOKENS, at("tokens")) { "is out of bounds" }
        require(least < most, at("seconds_max")) { "must be finite and above seconds_min" }
        ConditioningSpec(tokens.toInt(), least, most)
    }

private fun readLatent(value: JsonElement, path: String): LatentSpec =
    Fields(value, path, "shape", "hop", "margin").run {
        val shape = get("shape", listOf(::readWhole))
        val hop = whole("hop")
        val margin = whole("margin")
        require(shape.size == 2 && shape.all { it >= 1 }, at("shape")) { "must be (channels, length), both above 0" }
        require(elementsOf(shape, MAX_ELEMENTS) <= MAX_ELEMENTS, at("shape")) { "is too large to be true" }
        require(hop in 1..MOST_HOP, at("hop")) { "is out of bounds" }
        require(margin in 0..MOST_HOP, at("margin")) { "is out of bounds" }
        LatentSpec(shape, hop.toInt(), margin.toInt())
    }

private fun readFeatures(value: JsonElement, path: String): FeaturesSpec = Fields(value, path, "rate", "margin").run {
    val rate = whole("rate")
    val margin = whole("margin")
    require(rate in 1..MOST_RATE, at("rate")) { "is out of bounds" }
    require(margin in 0..MOST_RATE, at("margin")) { "is out of bounds" }
    FeaturesSpec(rate.toInt(), margin.toInt())
}

private fun readAudio(value: JsonElement, path: String): AudioSpec =
    Fields(value, path, "sample_rate", "channels").run {
        val rate = whole("sample_rate")
        val channels = whole("channels")
        require(rate in 1..MOST_HZ, at("sample_rate")) { "is out of bounds" }
        require(channels in 1..MOST_CHANNELS, at("channels")) { "is out of bounds" }
        AudioSpec(rate.toInt(), channels.toInt())
    }

private fun readSampler(value: JsonElement, path: String): SamplerSpec =
    Fields(value, path, "kind", "parameters", "sigmas").run {
        val kind = text("kind")
        val made = SamplerSpec(kind, get("parameters", tableOf(::readNumber)), get("sigmas", listOf(::readNumber)))
        require(kind in SAMPLERS, at("kind")) {
            "${quoted(kind)} is not known; expected ${SAMPLERS.keys.joinToString { quoted(it) }}"
        }
        val problem = made.sampler.problem(made.parameters)
        require(problem == null, at("parameters")) { problem.orEmpty() }
        require(made.sigmas.size in 2..MAX_STEPS + 1, at("sigmas")) { "needs 2 to ${MAX_STEPS + 1} values" }
        val falling = made.sigmas.zipWithNext().all { (a, b) -> a > b }
        val ends = made.sigmas.first() == 1.0 && made.sigmas.last() == 0.0
        require(falling && ends, at("sigmas")) { "must fall from 1 to 0" }
        requireOwnSigmas(made, at("sigmas"))
        made
    }

private fun requireOwnSigmas(made: SamplerSpec, path: String) {
    val own = made.sampler.sigmas(made.steps, made.parameters)
    val agree = made.sigmas.indices.all { abs(own[it].toDouble() - made.sigmas[it]) <= SIGMA_ERROR }
    require(agree, path) {
        val wanted = made.parameters.entries.joinToString { "${it.key} ${brief(it.value)}" }
        "are not those of ${made.steps} steps with $wanted"
    }
}

internal fun readGeneration(value: JsonElement, path: String): GenerationSpec =
    Fields(value, path, "conditioning", "latent", "audio", "sampler", "programs", "features").run {
        val made = GenerationSpec(
            conditioning = get("conditioning", ::readConditioning),
            latent = get("latent", ::readLatent),
            audio = get("audio", ::readAudio),
            sampler = get("sampler", ::readSampler),
            programs = get("programs", tableOf(::readSignature)),
            features = get("features", optional(::readFeatures)),
        )
        requireRoles(made, "$path.programs")
        requireConditioner(made, "$path.programs.conditioner")
        requireDit(made, "$path.programs.dit")
        requireDecoder(made, "$path.programs.decoder")
        if (made.features != null) requireTail(made, made.features, path)
        made
    }

private fun requireRoles(spec: GenerationSpec, path: String) {
    val roles = ROLES.filter { spec.features != null || it != DECODER_TAIL }
    for (role in roles) require(role in spec.programs, "$path.$role") { "is missing" }
    for (role in spec.programs.keys) {
        require(role in roles, "$path.$role") { "is no role; expected ${roles.joinToString()}" }
    }
}

private fun requireConditioner(spec: GenerationSpec, path: String) {
    val tokens = listOf(1L, spec.conditioning.tokens.toLong())
    val expected = mapOf(
        "input_ids" to Form(DType.INT32, tokens),
        "prompt_mask" to Form(DType.FLOAT32, tokens),
        "seconds" to Form(DType.FLOAT32, listOf(1L)),
    )
    requireLayout(spec.programs.getValue("conditioner").inputs, expected, "$path.inputs")
}

private fun requireDit(spec: GenerationSpec, path: String) {
    val latent = Form(DType.FLOAT32, listOf(1L) + spec.latent.shape)
    val conditioning = layoutOf(spec.programs.getValue("conditioner").outputs)
    val inputs = mapOf("latent" to latent, "sigma" to Form(DType.FLOAT32, listOf(1L))) + conditioning
    requireLayout(spec.programs.getValue("dit").inputs, inputs, "$path.inputs")
    requireLayout(spec.programs.getValue("dit").outputs, mapOf("velocity" to latent), "$path.outputs")
}

private fun requireDecoder(spec: GenerationSpec, path: String) {
    val shape = spec.input("decoder", "latent").shape
    require(shape.size == 3, "$path.inputs.latent.shape") { "is not (1, channels, length)" }
    val window = shape[2]
    val (channels, length) = spec.latent.shape
    val fits = window == length || (window < length && window > 2L * spec.latent.margin)
    require(fits, "$path.inputs.latent.shape") { "is neither the whole clip nor wider than its margins" }
    val decoder = spec.programs.getValue("decoder")
    val latent = mapOf("latent" to Form(DType.FLOAT32, listOf(1L, channels, window)))
    requireLayout(decoder.inputs, latent, "$path.inputs")
    if (spec.features == null) requireLayout(decoder.outputs, audioOf(spec, window * spec.latent.hop), "$path.outputs")
}

/** [path] is that of the generation. What the decoder makes is held against what its tail takes. */
private fun requireTail(spec: GenerationSpec, features: FeaturesSpec, path: String) {
    require(spec.latent.hop % features.rate == 0, "$path.features.rate") { "does not divide latent.hop" }
    val reach = spec.latent.margin.toLong() * features.rate
    require(features.margin <= reach, "$path.features.margin") { "reaches beyond latent.margin" }
    val tailPath = "$path.programs.$DECODER_TAIL"
    val shape = spec.input(DECODER_TAIL, "features").shape
    require(shape.size == 3, "$tailPath.inputs.features.shape") { "is not (1, channels, length)" }
    val (_, channels, tile) = shape
    val made = spec.window.toLong() * features.rate
    val fits = tile == made || (tile < made && tile > 2L * features.margin)
    require(fits, "$tailPath.inputs.features.shape") { "is neither the whole window nor wider than its margins" }
    val handed = { length: Long -> mapOf("features" to Form(DType.FLOAT32, listOf(1L, channels, length))) }
    requireLayout(spec.programs.getValue("decoder").outputs, handed(made), "$path.programs.decoder.outputs")
    val tail = spec.programs.getValue(DECODER_TAIL)
    requireLayout(tail.inputs, handed(tile), "$tailPath.inputs")
    requireLayout(tail.outputs, audioOf(spec, tile * spec.tailHop), "$tailPath.outputs")
}

private fun audioOf(spec: GenerationSpec, samples: Long): Layout =
    mapOf("audio" to Form(DType.FLOAT32, listOf(1L, spec.audio.channels.toLong(), samples)))

private fun requireLayout(specs: List<TensorSpec>, expected: Layout, path: String) {
    require(layoutOf(specs) == expected, path) { "are not ${textOf(expected)}" }
}
