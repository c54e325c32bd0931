package dev.edgeexport.core

/** A stretch that begins at [start]; of its sound, that of moments [first, end) is kept. */
internal data class Window(val start: Int, val first: Int, val end: Int)

/**
 * Windows of [window] moments that give the sound of [first, needed) of [length], one after another: of a latent, or
 * tiles of a window's features.
 *
 * A window's sound is right where no cut is within [margin] moments; the ends of the whole are no cuts. So [window] is
 * [length], or above 2 [margin] and below [length]; [needed] is at most [length].
 */
internal fun windows(length: Int, window: Int, margin: Int, needed: Int, first: Int = 0): List<Window> {
    require(needed <= length) { "$needed moments are needed of $length" }
    val made = ArrayList<Window>()
    var done = first
    while (done < needed) {
        val start = minOf(maxOf(0, done - margin), length - window)
        val right = if (start + window == length) window else window - margin
        val end = minOf(start + right, needed)
        made += Window(start, first = done, end = end)
        done = end
    }
    return made
}
