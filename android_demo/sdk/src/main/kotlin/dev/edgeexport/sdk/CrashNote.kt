package dev.edgeexport.sdk

import android.content.Context
import java.io.File

/**
 * A note that native code is at work, to be found at the next start if the process died in it. It knows no reason.
 *
 * One file, which is there while a program is loaded or run: an exception or a cancelled generation takes it away, and
 * only what ends the process at once (a signal, the system's memory killer) leaves it behind.
 */
public class CrashNote internal constructor(private val file: File) {
    public constructor(context: Context) : this(File(context.noBackupFilesDir, "edge-export-running"))

    /** What was at work when the process died the last time, such as "dit"; null where it ended well. Asked once. */
    public fun take(): String? {
        if (!file.exists()) return null
        val text = file.readText().take(MOST_CHARACTERS)
        file.delete()
        return text
    }

    /** [work] with a note of [what] it is. */
    internal suspend fun <T> during(what: String, work: suspend () -> T): T = try {
        write(what)
        work()
    } finally {
        clear()
    }

    internal fun write(what: String) {
        file.parentFile?.mkdirs()
        file.writeText(what)
    }

    internal fun clear() {
        file.delete()
    }

    private companion object {
        const val MOST_CHARACTERS = 100
    }
}
