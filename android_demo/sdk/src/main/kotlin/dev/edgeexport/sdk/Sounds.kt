package dev.edgeexport.sdk

import android.annotation.TargetApi
import android.content.ClipData
import android.content.ContentValues
import android.content.Context
import android.content.Intent
import android.net.Uri
import android.os.Build
import android.os.Environment
import android.provider.MediaStore
import dev.edgeexport.core.OutputException
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.withContext
import java.io.File
import java.io.IOException

private const val WAV = "audio/wav"

/**
 * Where a sound goes when it leaves the app: the device's music, a file that the user chose, another app. It knows
 * files, not how they were made; permissions are asked for none.
 */
public class Sounds(private val context: Context) {
    /** Whether [save] works here: Android 10 and later. Before, ask the user for a place ([createDocument]). */
    public val canSave: Boolean get() = Build.VERSION.SDK_INT >= Build.VERSION_CODES.Q

    /**
     * Put a copy of [wav] into the device's music under [name], where other apps find it; where [canSave].
     *
     * @throws OutputException there is no room, or the system refuses.
     */
    @TargetApi(Build.VERSION_CODES.Q)
    public suspend fun save(wav: File, name: String): Uri = writing("the music folder") {
        val resolver = context.contentResolver
        val values = ContentValues().apply {
            put(MediaStore.Audio.Media.DISPLAY_NAME, name)
            put(MediaStore.Audio.Media.MIME_TYPE, WAV)
            put(MediaStore.Audio.Media.RELATIVE_PATH, Environment.DIRECTORY_MUSIC)
            put(MediaStore.Audio.Media.IS_PENDING, 1)
        }
        val place = resolver.insert(MediaStore.Audio.Media.getContentUri(MediaStore.VOLUME_EXTERNAL_PRIMARY), values)
            ?: throw IOException("the system gave no place")
        try {
            copy(wav, place)
            resolver.update(place, ContentValues().apply { put(MediaStore.Audio.Media.IS_PENDING, 0) }, null, null)
        } catch (error: IOException) {
            resolver.delete(place, null, null)
            throw error
        }
        place
    }

    /** The system's picker for a new WAV called [name]; its answer is for [saveTo]. */
    public fun createDocument(name: String): Intent = Intent(Intent.ACTION_CREATE_DOCUMENT)
        .addCategory(Intent.CATEGORY_OPENABLE)
        .setType(WAV)
        .putExtra(Intent.EXTRA_TITLE, name)

    /** Write a copy of [wav] to the [place] that the user chose; [OutputException] as for [save]. */
    public suspend fun saveTo(wav: File, place: Uri): Unit = writing("the file") { copy(wav, place) }

    /**
     * The system's sheet to hand [file], of the app's own `cacheDir/shared`, to another app: a WAV, or a record with
     * [type] "application/json". It may be read by that app alone, and not be written.
     */
    public fun share(file: File, type: String = WAV): Intent {
        val uri = SharedFiles.uriOf(context, file)
        val send = Intent(Intent.ACTION_SEND)
            .setType(type)
            .putExtra(Intent.EXTRA_STREAM, uri)
            .addFlags(Intent.FLAG_GRANT_READ_URI_PERMISSION)
        send.clipData = ClipData.newRawUri(file.name, uri) // the grant goes with it through the sheet
        return Intent.createChooser(send, null)
    }

    private fun copy(from: File, place: Uri) {
        val out = context.contentResolver.openOutputStream(place, "wt") ?: throw IOException("the place is gone")
        out.use { sink -> from.inputStream().use { it.copyTo(sink) } }
    }

    private suspend fun <T> writing(where: String, action: () -> T): T = withContext(Dispatchers.IO) {
        try {
            action()
        } catch (error: IOException) {
            throw OutputException("cannot write to $where: ${error.message}; free some space, or save elsewhere", error)
        } catch (error: SecurityException) {
            throw OutputException("this app may not write to $where; save elsewhere", error)
        }
    }
}
