package dev.edgeexport.core

import kotlinx.serialization.json.JsonArray
import kotlinx.serialization.json.JsonObject
import kotlinx.serialization.json.JsonPrimitive
import java.io.File
import java.io.IOException
import java.nio.file.Files
import java.nio.file.LinkOption
import java.nio.file.attribute.FileTime
import java.util.concurrent.TimeUnit

/**
 * Which files of a bundle were hashed and found right, so that they need not be hashed at every start; kept in
 * [folder].
 *
 * A file is known by device, inode, size and the two times that every change of it alters. A receipt that is damaged,
 * foreign or cannot be kept costs time, never a bundle. Its form is that of all runtimes; on a computer
 * `~/.cache/edge-export/receipts` is theirs, an app gives a folder of its own.
 */
public class Receipts(private val folder: File) {
    /** The files of [bundle] that were found right under this very manifest; none where nothing is known. */
    internal fun read(bundle: File, manifestSha256: String): Map<String, Identity> = try {
        val path = path(bundle)
        if (path.isFile && path.length() <= MAX_BYTES) parsed(path.readText(), manifestSha256) else emptyMap()
    } catch (_: IOException) {
        emptyMap()
    } catch (_: FormatException) {
        emptyMap()
    } catch (_: SchemaException) {
        emptyMap()
    }

    private fun parsed(text: String, manifestSha256: String): Map<String, Identity> =
        Fields(StrictJson.parse(text), "", "receipt_version", "manifest_sha256", "files").run {
            val ours = whole("receipt_version") == VERSION && text("manifest_sha256") == manifestSha256
            if (ours) get("files", tableOf(listOf(::readWhole))) else emptyMap()
        }

    /** Note [files] as right, but for those that changed shortly before [begunNs], when hashing began. */
    internal fun write(bundle: File, manifestSha256: String, files: Map<String, Identity>, begunNs: Long) {
        val sure = files.filterValues { maxOf(it[MODIFIED], it[CHANGED]) < begunNs - UNSURE_NS }
        val document = JsonObject(
            mapOf(
                "receipt_version" to JsonPrimitive(VERSION),
                "manifest_sha256" to JsonPrimitive(manifestSha256),
                "files" to JsonObject(sure.mapValues { (_, each) -> JsonArray(each.map(::JsonPrimitive)) }),
            ),
        )
        try {
            folder.mkdirs()
            replaceFile(path(bundle), document.toString().toByteArray())
            trim()
        } catch (_: IOException) {
            // It costs the next start a little time.
        } catch (_: OutputException) {
            // The same.
        }
    }

    private fun path(bundle: File): File = File(folder, sha256Of(bundle.canonicalPath.toByteArray()).take(32) + ".json")

    /** Drop the oldest beyond [MOST_RECEIPTS], and what killed runs left behind a day ago. */
    private fun trim() {
        val (kept, rest) = folder.listFiles().orEmpty().partition { it.name.endsWith(".json") }
        kept.sortedByDescending { it.lastModified() }.drop(MOST_RECEIPTS).forEach { it.delete() }
        val dayAgo = System.currentTimeMillis() - TimeUnit.DAYS.toMillis(1)
        rest.filter { it.lastModified() < dayAgo }.forEach { it.delete() }
    }

    internal companion object {
        private const val VERSION = 1L
        private const val MAX_BYTES = 1L shl 20
        private const val MOST_RECEIPTS = 256
        private const val MODIFIED = 3
        private const val CHANGED = 4

        /** A file that changed so shortly before it was hashed may change again within one tick of its clock. */
        private const val UNSURE_NS = 2_000_000_000L

        /** What the disk says of a file itself, not of what a link leads to; null where it does not say all. */
        fun identity(file: File): Identity? = try {
            val found = Files.readAttributes(
                file.toPath(),
                "unix:dev,ino,size,lastModifiedTime,ctime",
                LinkOption.NOFOLLOW_LINKS,
            )
            listOf(
                (found["dev"] as Number).toLong(),
                (found["ino"] as Number).toLong(),
                (found["size"] as Number).toLong(),
                (found["lastModifiedTime"] as FileTime).to(TimeUnit.NANOSECONDS),
                (found["ctime"] as FileTime).to(TimeUnit.NANOSECONDS),
            )
        } catch (_: UnsupportedOperationException) {
            null
        } catch (_: IllegalArgumentException) {
            null
        } catch (_: IOException) {
            null
        }
    }
}

/** Device, inode, bytes, and the times of the last change of content and of anything, in nanoseconds. */
internal typealias Identity = List<Long>
