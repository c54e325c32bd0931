package dev.edgeexport.demo

import android.content.Context

/** What outlives the process: drafts by name, and the bundle that was chosen. It knows nothing of their use. */
internal class Settings(context: Context) {
    private val preferences = context.getSharedPreferences("demo", Context.MODE_PRIVATE)

    /** The folder's name of the chosen bundle; null: the app's own. */
    var bundle: String?
        get() = preferences.getString("bundle", null)
        set(value) = preferences.edit().putString("bundle", value).apply()

    /** The draft kept under [name]; null where there is none. */
    fun draft(name: String): Draft? {
        val prompt = preferences.getString("$name.prompt", null) ?: return null
        val usual = Draft()
        return Draft(
            prompt = prompt,
            seconds = preferences.getInt("$name.tenths", tenthsOf(usual.seconds)) / TENTHS,
            seed = preferences.getLong("$name.seed", usual.seed),
            seedLocked = preferences.getBoolean("$name.locked", usual.seedLocked),
            steps = preferences.getInt("$name.steps", usual.steps),
        )
    }

    fun keep(name: String, draft: Draft?) {
        preferences.edit()
            .putString("$name.prompt", draft?.prompt)
            .putInt("$name.tenths", tenthsOf(draft?.seconds ?: 0.0))
            .putLong("$name.seed", draft?.seed ?: 0)
            .putBoolean("$name.locked", draft?.seedLocked ?: false)
            .putInt("$name.steps", draft?.steps ?: 0)
            .apply()
    }
}

internal const val TENTHS = 10.0

/** Seconds are chosen in tenths. */
internal fun tenthsOf(seconds: Double): Int = Math.round(seconds * TENTHS).toInt()
