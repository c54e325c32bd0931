package dev.edgeexport.sdk

import android.content.ContentProvider
import android.content.ContentValues
import android.content.Context
import android.database.Cursor
import android.database.MatrixCursor
import android.net.Uri
import android.os.ParcelFileDescriptor
import android.provider.OpenableColumns
import java.io.File
import java.io.FileNotFoundException

/**
 * Lets other apps read the files of `cacheDir/shared` that they were handed, and nothing else: no folder, no list, no
 * writing. It is not exported; each file is granted by the intent that hands it over.
 */
public class SharedFiles : ContentProvider() {
    override fun onCreate(): Boolean = true

    override fun openFile(uri: Uri, mode: String): ParcelFileDescriptor {
        if (mode != "r") throw FileNotFoundException("$uri may only be read")
        return ParcelFileDescriptor.open(fileOf(uri), ParcelFileDescriptor.MODE_READ_ONLY)
    }

    override fun query(
        uri: Uri,
        projection: Array<String>?,
        selection: String?,
        selectionArgs: Array<String>?,
        sortOrder: String?,
    ): Cursor {
        val file = fileOf(uri)
        val known = mapOf<String, Any>(OpenableColumns.DISPLAY_NAME to file.name, OpenableColumns.SIZE to file.length())
        val columns = (projection ?: known.keys.toTypedArray()).filter { it in known }
        return MatrixCursor(columns.toTypedArray(), 1).apply { addRow(columns.map(known::getValue)) }
    }

    override fun getType(uri: Uri): String = when (fileOf(uri).extension) {
        "wav" -> "audio/wav"
        "json" -> "application/json"
        else -> "application/octet-stream"
    }

    override fun insert(uri: Uri, values: ContentValues?): Uri? = throw UnsupportedOperationException()

    override fun update(uri: Uri, values: ContentValues?, selection: String?, selectionArgs: Array<String>?): Int =
        throw UnsupportedOperationException()

    override fun delete(uri: Uri, selection: String?, selectionArgs: Array<String>?): Int =
        throw UnsupportedOperationException()

    private fun fileOf(uri: Uri): File {
        val name = uri.pathSegments.singleOrNull().orEmpty()
        val file = File(folder(requireNotNull(context)), name)
        if (!NAME.matches(name) || !file.isFile) throw FileNotFoundException("no file at $uri")
        return file
    }

    public companion object {
        private val NAME = Regex("[A-Za-z0-9][A-Za-z0-9._-]{0,127}")

        /** The folder whose files can be shared; the system may empty it when room is short. */
        public fun folder(context: Context): File = File(context.cacheDir, "shared").apply { mkdirs() }

        internal fun uriOf(context: Context, file: File): Uri {
            require(file.parentFile == folder(context) && NAME.matches(file.name)) { "$file is not in cacheDir/shared" }
            return Uri.Builder().scheme(
                "content",
            ).authority("${context.packageName}.edge-export").path(file.name).build()
        }
    }
}
