package dev.edgeexport.sdk

import android.content.SharedPreferences
import dev.edgeexport.core.StageTime

/**
 * How long each stage took on this device the last time, to say how long the next generation will take. It knows no
 * bundle but by [key], which says the bundle and the number of threads.
 */
internal class Timings(private val preferences: SharedPreferences, private val key: String) {
    /** Seconds of a stage: once for its programs, and for each piece of its work. */
    private data class Stage(val load: Float, val run: Float)

    private fun stage(name: String): Stage? {
        val load = preferences.getFloat("$key.$name.load", NONE)
        val run = preferences.getFloat("$key.$name.run", NONE)
        return if (load < 0 || run < 0) null else Stage(load, run)
    }

    /** Seconds for [pieces], the stage of each in their order, of which [done] are over; null where one is unknown. */
    fun secondsLeft(pieces: List<String>, done: Int): Double? {
        var seconds = 0.0
        for (place in done until pieces.size) {
            val known = stage(pieces[place]) ?: return null
            val first = place == 0 || pieces[place - 1] != pieces[place]
            seconds += known.run + if (first) known.load else 0f
        }
        return seconds
    }

    /** Keep what a whole generation took. A stage that was not run this time keeps what it had. */
    fun note(times: Map<String, StageTime>) {
        val editor = preferences.edit()
        for ((name, time) in times) {
            editor.putFloat("$key.$name.load", time.load.toFloat())
            editor.putFloat("$key.$name.run", (time.runs.sum() / time.runs.size).toFloat())
        }
        editor.apply()
    }

    private companion object {
        const val NONE = -1f
    }
}
