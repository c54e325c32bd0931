package dev.edgeexport.sdk

import android.content.Context
import android.net.Uri
import dev.edgeexport.core.Bundle
import dev.edgeexport.core.BundleException
import dev.edgeexport.core.BundleStore
import dev.edgeexport.core.Receipts
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.sync.Mutex
import kotlinx.coroutines.sync.withLock
import kotlinx.coroutines.withContext
import java.io.File
import java.io.IOException
import java.io.InputStream

/**
 * The bundles on this device, in the app's own storage: there programs can be mapped, which they cannot be in an APK.
 *
 * @param target the device family whose bundles are taken.
 */
public class InstalledBundles(private val context: Context, target: String = "android-arm64") {
    private val root = File(context.noBackupFilesDir, "edge-export")
    private val store = BundleStore(File(root, "bundles"), target, Receipts(File(root, "receipts")))
    private val unpacked = context.getSharedPreferences("dev.edgeexport.assets", Context.MODE_PRIVATE)

    /** All that were accepted, the newest first: their folders, for [open] and [delete]. */
    public suspend fun folders(): List<File> = io { store.folders() }

    /** Open one of [folders]; [BundleException] where it is damaged, or of another version or target. */
    public suspend fun open(folder: File): Bundle = io { store.open(folder) }

    /** Remove one of [folders]. */
    public suspend fun delete(folder: File): Unit = io { store.delete(folder) }

    /**
     * The bundle that lies in the folder [name] of the app's assets, copied out of them once for each version of the
     * app; [onBytes] is called with the bytes copied so far.
     *
     * @throws BundleException there is none of that name, or it is damaged, of another version or target.
     * @throws dev.edgeexport.core.OutputException there is no room.
     */
    public suspend fun fromAssets(name: String, onBytes: (Long) -> Unit = {}): Bundle = importing {
        known(name) ?: run {
            val bundle = store.importFiles(name, onBytes) { context.assets.open("$name/$it") }
            unpacked.edit().putString(name, "$appVersion ${bundle.folder.name}").apply()
            bundle
        }
    }

    /**
     * Take in the zip that the user chose by the system's picker: checked as a whole before it is accepted.
     *
     * @throws BundleException it is no bundle, damaged, unsafe to unpack, of another version or target.
     * @throws dev.edgeexport.core.OutputException there is no room.
     */
    public suspend fun fromZip(uri: Uri, onBytes: (Long) -> Unit = {}): Bundle = importing {
        opened(uri).use { store.importZip(it, uri.lastPathSegment ?: "the zip", onBytes) }
    }

    /** Take in a folder, such as one that the app itself has downloaded; else as [fromZip]. */
    public suspend fun fromFolder(folder: File, onBytes: (Long) -> Unit = {}): Bundle = importing {
        store.importFolder(folder, onBytes)
    }

    private val appVersion: Long
        get() = context.packageManager.getPackageInfo(context.packageName, 0).lastUpdateTime

    /** What was copied before by this very version of the app; null where it is not there, or damaged. */
    private fun known(name: String): Bundle? {
        val note = unpacked.getString(name, null)?.split(' ')?.takeIf { it[0] == "$appVersion" } ?: return null
        val folder = store.folders().find { it.name == note.last() } ?: return null
        return try {
            store.open(folder)
        } catch (_: BundleException) {
            store.delete(folder)
            null
        }
    }

    private fun opened(uri: Uri): InputStream = try {
        context.contentResolver.openInputStream(uri)
    } catch (error: IOException) {
        throw BundleException("the file cannot be read (${error.message}); choose it again", error)
    } catch (error: SecurityException) {
        throw BundleException("this app may not read the file; choose it again", error)
    } ?: throw BundleException("the file is not there any more; choose another")

    private suspend fun <T> io(action: suspend () -> T): T = withContext(Dispatchers.IO) { action() }

    /** One import after another: what the one before left, when it was killed, goes first. */
    private suspend fun importing(action: suspend () -> Bundle): Bundle = io {
        TURN.withLock {
            store.cleanUp()
            action()
        }
    }

    private companion object {
        val TURN = Mutex()
    }
}
