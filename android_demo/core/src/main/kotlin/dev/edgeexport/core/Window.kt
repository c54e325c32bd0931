package dev.edgeexport.core

/** A stretch of the latent that begins at [start]; of its sound, that of latents [first, end) is kept. */
internal data class Window(val start: Int, val first: Int, val end: Int)

/**
 * Windows of [window] latents that give the sound of the first [needed] of [length], one after another.
 *
 * A window's sound is right where no cut is within [margin] latents; the ends of the latent are no cuts. So [window] is
 * [length], or above 2 [margin] and below [length]; [needed] is at most [length].
 */
internal fun windows(length: Int, window: Int, margin: Int, needed: Int): List<Window> {
    require(needed <= length) { "$needed latents are needed of $length" }
    val made = ArrayList<Window>()
    var done = 0
    while (done < needed) {
        val start = minOf(maxOf(0, done - margin), length - window)
        val right = if (start + window == length) window else window - margin
        val end = minOf(start + right, needed)
        made += Window(start, first = done, end = end)
        done = end
    }
    return made
}
