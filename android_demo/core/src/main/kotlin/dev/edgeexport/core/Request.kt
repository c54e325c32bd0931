package dev.edgeexport.core

import kotlinx.serialization.json.JsonElement
import kotlin.math.floor

private const val MAX_PROMPT_CHARACTERS = 100_000

/**
 * One clip: what to generate. It does not know how anything is computed.
 *
 * @property seconds of sound, above 0 and at most [Manifest.secondsLimit].
 * @property seed 0..[MAX_SEED]; the same prompt, seconds, seed and steps give the same sound.
 * @property steps null means the bundle's own; where a request is kept, it is a number.
 */
public data class Request(val prompt: String, val seconds: Double, val seed: Long = 0, val steps: Int? = null) {
    /** The same request with nothing left open, as it is kept. */
    internal fun resolved(spec: GenerationSpec): Request = copy(steps = steps ?: spec.sampler.steps)

    /**
     * Refuse what the model cannot do, before anything is loaded.
     *
     * @throws UsageException an empty or absurdly long prompt; seconds, steps or a seed out of range.
     */
    internal fun check(spec: GenerationSpec) {
        checkPrompt(spec)
        checkSeconds(spec)
        spec.sampler.schedule(steps)
        TorchRandom(seed)
    }

    private fun checkPrompt(spec: GenerationSpec) {
        if (prompt.all(::isSpace)) {
            throw UsageException("the prompt is empty; say what to play, such as \"warm arpeggios on house beats\"")
        }
        val characters = prompt.codePointCount(0, prompt.length)
        if (characters > MAX_PROMPT_CHARACTERS) {
            throw UsageException(
                "the prompt has $characters characters; the model reads ${spec.conditioning.tokens} tokens: " +
                    "shorten it below $MAX_PROMPT_CHARACTERS characters",
            )
        }
    }

    private fun checkSeconds(spec: GenerationSpec) {
        val limit = spec.secondsLimit
        val brief = brief(seconds)
        if (!seconds.isFinite() || seconds <= 0) {
            throw UsageException("seconds is $brief, expected a number above 0 and up to ${shownLimit(limit)}")
        }
        if (seconds > limit) {
            val asked = if (brief.toDouble() > limit) brief else shortest(seconds)
            throw UsageException("seconds is $asked, this model makes at most ${shownLimit(limit)}; ask for less")
        }
        if (samplesIn(seconds, spec.audio.sampleRate) < 1) {
            throw UsageException("seconds is $brief, less than one sample; ask for more")
        }
    }
}

/** The most seconds in milliseconds, rounded down: a number that is accepted. */
internal fun shownLimit(seconds: Double): String {
    val whole = floor(seconds * 1000)
    return fixed((if (whole / 1000 > seconds) whole - 1 else whole) / 1000, places = 3)
}

/** Unicode's white space, as Python's `str.strip` takes it. */
private fun isSpace(character: Char): Boolean = when (character) {
    in '\t'..'\r', in '\u001C'..' ', '\u0085', '\u00A0', '\u1680', in '\u2000'..'\u200A',
    '\u2028', '\u2029', '\u202F', '\u205F', '\u3000',
    -> true

    else -> false
}

internal fun readRequest(value: JsonElement, path: String): Request =
    Fields(value, path, "prompt", "seconds", "seed", "steps").run {
        val steps = get("steps", optional(::readWhole))
        Request(
            prompt = text("prompt"),
            seconds = number("seconds"),
            seed = whole("seed"),
            // Beyond what an Int holds is as much out of range as its ends are; messages alone would tell them apart.
            steps = steps?.coerceIn(Int.MIN_VALUE.toLong(), Int.MAX_VALUE.toLong())?.toInt(),
        )
    }
