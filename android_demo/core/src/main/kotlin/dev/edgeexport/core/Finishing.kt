package dev.edgeexport.core

import kotlinx.serialization.json.JsonElement
import kotlin.math.abs

private const val FADE_SECONDS = 0.005

/** -1 dBFS: 10 ^ (-1 / 20). */
private const val PEAK = 0.8912509381337456

/**
 * The last touches to a sound before it is written.
 *
 * @property normalize raise, or lower, the peak to -1 dBFS.
 * @property fade where the end was cut, let its last 5 ms fall to silence.
 */
public data class Finishing(val normalize: Boolean = false, val fade: Boolean = true)

/**
 * [audio] finished, as a copy. cut: it ends before the model's clip does.
 *
 * Every sample is multiplied in double precision and rounded to float32 once, so that every language gives the same
 * bytes. First the fade: of the last n = min(samples, round(0.005 rate)) samples, half to even, number k from 0 is
 * multiplied by (n - 1 - k) / n, so that the last is 0. Then the level.
 */
internal fun Audio.finished(finishing: Finishing, cut: Boolean): Audio {
    val made = channels.map { it.copyOf() }
    if (finishing.fade && cut) fade(made, minOf(samples, Math.rint(FADE_SECONDS * sampleRate).toInt()))
    val peak = made.maxOf { channel -> channel.fold(0f) { most, sample -> maxOf(most, abs(sample)) } }.toDouble()
    if (finishing.normalize && peak > 0) {
        for (channel in made) {
            for (place in channel.indices) channel[place] = (channel[place] * (PEAK / peak)).toFloat()
        }
    }
    return Audio(made, sampleRate)
}

private fun Audio.fade(made: List<FloatArray>, count: Int) {
    for (channel in made) {
        for (index in 0 until count) {
            val place = samples - count + index
            channel[place] = (channel[place] * ((count - 1 - index).toDouble() / count)).toFloat()
        }
    }
}

internal fun readFinishing(value: JsonElement, path: String): Finishing =
    Fields(value, path, "normalize", "fade").run { Finishing(flag("normalize"), flag("fade")) }
