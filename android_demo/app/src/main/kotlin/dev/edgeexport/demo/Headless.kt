package dev.edgeexport.demo

import android.content.Context
import android.util.Log
import dev.edgeexport.core.Bundle
import dev.edgeexport.core.EdgeExportException
import dev.edgeexport.core.OutputException
import dev.edgeexport.core.UsageException
import dev.edgeexport.sdk.GenerationEvent
import dev.edgeexport.sdk.InstalledBundles
import kotlinx.coroutines.CoroutineScope
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.Job
import kotlinx.coroutines.launch
import kotlinx.coroutines.sync.Mutex
import kotlinx.coroutines.sync.withLock
import org.json.JSONObject
import java.io.File
import java.io.IOException

private const val TAG = "edge-export"
private val RUN = Regex("[A-Za-z0-9-]{1,64}")

/** The exit code of what is no error of the runtime's, but a defect. */
private const val DEFECT = 1

/**
 * Runs without a screen, for tests by way of adb: each has a folder `runs/RUN` in the app's external files, with the
 * request in it, and gets there its progress, WAV and record, and last of all done.json. Nothing else is written to.
 *
 * One run at a time; the next waits.
 */
internal class Headless(
    private val context: Context,
    private val bundles: InstalledBundles,
    private val opener: GeneratorOpener,
    private val scope: CoroutineScope,
) {
    private val turn = Mutex()

    /** Do the run of that name; null, and a line in the system's log, where there is no such folder. */
    fun start(run: String?): Job? {
        val files = context.getExternalFilesDir(null)
        val folder = run?.takeIf(RUN::matches)?.let { File(files, "runs/$it") }
        if (files == null || folder == null || !folder.isDirectory) {
            Log.e(TAG, "no run of that name; push runs/RUN/request.json first, RUN of letters, digits and hyphens")
            return null
        }
        return scope.launch(Dispatchers.IO) { turn.withLock { run(files, folder) } }
    }

    private suspend fun run(files: File, folder: File) {
        for (name in listOf("progress", "x.wav", "record.json", "done.json")) File(folder, name).delete()
        var defect: Throwable? = null
        val (code, message) = try {
            play(files, folder)
            0 to ""
        } catch (error: EdgeExportException) {
            error.exitCode to error.message
        } catch (error: Exception) {
            defect = error
            DEFECT to "a defect of the app: $error; look into adb logcat"
        }
        writeDone(folder, code, message)
        defect?.let { throw it } // as everywhere: a defect is not passed over
    }

    private suspend fun play(files: File, folder: File) {
        val asked = HeadlessRequest.read(File(folder, "request.json"))
        val bundle = bundleOf(files, asked.bundle)
        opener.open(bundle, asked.threads, asked.label).use { generator ->
            generator.events(asked.request).collect { event ->
                when (event) {
                    is GenerationEvent.Step -> note(folder, event)
                    is GenerationEvent.Sound -> Unit
                    is GenerationEvent.Done -> keep(folder, event)
                }
            }
        }
    }

    private suspend fun bundleOf(files: File, name: String?): Bundle {
        if (name == null) return bundles.fromAssets(BUILT_IN)
        val folder = File(files, "bundles/$name")
        if (!folder.isDirectory) throw UsageException("there is no bundle $folder; push it first")
        return bundles.fromFolder(folder)
    }

    private fun note(folder: File, step: GenerationEvent.Step) = writing(File(folder, "progress")) {
        it.appendText("${step.stage} ${step.index} of ${step.count}\n")
    }

    private fun keep(folder: File, done: GenerationEvent.Done) {
        done.clip.save(File(folder, "x.wav"))
        writing(File(folder, "record.json")) { it.outputStream().buffered().use(done.record::write) }
    }

    /** It appears at once and whole: whoever sees it may take all the others. */
    private fun writeDone(folder: File, code: Int, message: String) = writing(File(folder, "done.json")) { done ->
        val partial = File(folder, "done.json.partial")
        partial.writeText("${JSONObject().put("code", code).put("message", message)}\n")
        if (!partial.renameTo(done)) throw IOException("it cannot be moved to its place")
    }

    private fun writing(file: File, action: (File) -> Unit) = try {
        action(file)
    } catch (error: IOException) {
        throw OutputException("cannot write $file: ${error.message}; free some space", error)
    }
}
