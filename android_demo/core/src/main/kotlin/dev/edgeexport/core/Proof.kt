package dev.edgeexport.core

import kotlinx.coroutines.flow.Flow
import kotlinx.coroutines.flow.FlowCollector
import kotlinx.coroutines.flow.flow
import kotlinx.coroutines.flow.toList
import kotlin.math.abs
import kotlin.math.log10

/** The runtime's noise and torch.randn agree to this. */
private const val NOISE_ERROR = 1e-5

/**
 * One line of the proof: [tensor] of [stage] held against the reference.
 *
 * @property thresholdDb the least SNR allowed, null where nothing is demanded.
 */
public data class Check(
    val stage: String,
    val tensor: String,
    val snrDb: Double,
    val maxError: Double,
    val thresholdDb: Double?,
    val passed: Boolean,
)

/**
 * Replays the golden vectors program by program: what this runtime computes itself, each program on the reference's own
 * inputs, a whole run. One [Check] after another, in the order of the data.
 *
 * Collecting it throws [BundleException] or [GenerationException] where the vectors or a program cannot be used at all.
 */
internal fun prove(bundle: Bundle, tokenizer: Tokenizer, programs: OpenProgram): Flow<Check> = flow {
    val spec = bundle.manifest.generation
    val thresholds = bundle.manifest.recipe.thresholds
    val golden = bundle.readGolden()
    val replay = Replay(spec, programs, golden)
    proveOwn(bundle, tokenizer, golden)
    val made = replay.events(spec.latent.samples).toList().groupBy { it.stage }
    for ((name, tensor) in made.getValue("conditioner").first().tensors) {
        emit(judged("conditioner", name, golden.getValue(name), tensor, thresholds["conditioner"]))
    }
    emit(worstStep(golden, made.getValue("dit"), thresholds["dit"]))
    emit(judged("decoder", "audio", golden.getValue("audio"), audioOf(made), thresholds["decoder"]))
    val run = replay.wholeRun().toList().groupBy { it.stage }
    val latent = run.getValue("dit").last().tensors.getValue("clean")
    emit(judged("run", "latent", golden.getValue("latent"), latent, thresholds["run"]))
    emit(judged("run", "audio", golden.getValue("audio"), audioOf(run), thresholds["run"]))
}

/** What must be right to the last bit, or to a bound of its own. */
private suspend fun FlowCollector<Check>.proveOwn(bundle: Bundle, tokenizer: Tokenizer, golden: Tensors) {
    val spec = bundle.manifest.generation
    val request = bundle.manifest.golden.request
    val inputs = conditionerInputs(request, tokenizer.encodePrompt(request.prompt, spec.conditioning.tokens))
    for (name in listOf("input_ids", "prompt_mask")) {
        emit(exact("tokenizer", name, golden.getValue(name), inputs.getValue(name), most = 0.0))
    }
    val draw = latentNoise(spec, request.seed)
    val noise = golden.getValue("noise")
    val shape = listOf(1L) + spec.latent.shape
    val drawn = Tensor.stacked(List(noise.shape[0].toInt()) { Tensor.of(shape, draw()) })
    emit(exact("noise", "noise", noise, drawn, most = NOISE_ERROR))
    val schedule = spec.sampler.schedule(request.steps)
    val sigmas = Tensor.of(listOf(schedule.size.toLong()), schedule)
    emit(exact("sampler", "sigmas", golden.getValue("sigmas"), sigmas, most = 0.0))
}

/** The worst of the recorded steps, each on its recorded input. */
private fun worstStep(golden: Tensors, events: List<Event>, threshold: Double?): Check {
    val expected = golden.getValue("step_velocity")
    return events.mapIndexed { index, event ->
        val name = "velocity, step ${index + 1} of ${events.size}"
        judged("dit", name, expected.entry(index), event.tensors.getValue("velocity"), threshold)
    }.minByOrNull { it.snrDb }!!
}

/** Hold [actual] to an SNR of [threshold] dB at least; NaN never passes. */
private fun judged(stage: String, tensor: String, reference: Tensor, actual: Tensor, threshold: Double?): Check {
    val snr = snrDb(reference, actual)
    val largest = maxError(reference, actual)
    val passed = largest.isFinite() && (threshold == null || snr >= threshold)
    return Check(stage, tensor, snr, largest, threshold, passed)
}

private fun exact(stage: String, tensor: String, reference: Tensor, actual: Tensor, most: Double): Check {
    val largest = maxError(reference, actual)
    return Check(stage, tensor, snrDb(reference, actual), largest, null, passed = largest <= most)
}

/**
 * 10 log10(sum reference^2 / sum (actual - reference)^2): infinite when equal, minus infinity when either holds NaN or
 * infinity, or when the reference is silent and [actual] is not.
 */
internal fun snrDb(reference: Tensor, actual: Tensor): Double {
    val (wanted, found) = numbersOf(reference, actual)
    var noise = 0.0
    var signal = 0.0
    for (place in wanted.indices) {
        val error = found[place] - wanted[place]
        noise += error * error
        signal += wanted[place] * wanted[place]
    }
    return when {
        !noise.isFinite() -> Double.NEGATIVE_INFINITY
        noise == 0.0 -> Double.POSITIVE_INFINITY
        signal > 0 -> 10 * log10(signal / noise)
        else -> Double.NEGATIVE_INFINITY
    }
}

/** The largest absolute difference; NaN when either holds NaN or infinity. */
internal fun maxError(reference: Tensor, actual: Tensor): Double {
    val (wanted, found) = numbersOf(reference, actual)
    val largest = wanted.indices.fold(0.0) { most, place -> maxOf(most, abs(found[place] - wanted[place])) }
    return if (largest.isFinite()) largest else Double.NaN
}

/** Never broadcast, which would compare what does not belong together. */
private fun numbersOf(reference: Tensor, actual: Tensor): Pair<DoubleArray, DoubleArray> {
    require(reference.form == actual.form) { "cannot compare $reference with $actual" }
    return doubles(reference) to doubles(actual)
}

private fun doubles(tensor: Tensor): DoubleArray = when (tensor.dtype) {
    DType.FLOAT32 -> tensor.toFloatArray().let { numbers -> DoubleArray(numbers.size) { numbers[it].toDouble() } }

    DType.INT32 -> tensor.toIntArray().let { numbers -> DoubleArray(numbers.size) { numbers[it].toDouble() } }

    DType.INT64 -> tensor.view().asLongBuffer().let { numbers ->
        DoubleArray(numbers.limit()) { numbers[it].toDouble() }
    }

    DType.FLOAT16 -> tensor.view().asShortBuffer().let { numbers -> DoubleArray(numbers.limit()) { half(numbers[it]) } }
}

/** The number that 16 bits of IEEE 754 stand for. */
private fun half(bits: Short): Double {
    val exponent = bits.toInt() ushr 10 and 0x1F
    val fraction = bits.toInt() and 0x3FF
    val magnitude = when (exponent) {
        0 -> fraction * HALF_TINY
        0x1F -> if (fraction == 0) Double.POSITIVE_INFINITY else Double.NaN
        else -> Math.scalb(1.0 + fraction / 1024.0, exponent - 15)
    }
    return if (bits < 0) -magnitude else magnitude
}

private const val HALF_TINY = 1.0 / (1 shl 24)
