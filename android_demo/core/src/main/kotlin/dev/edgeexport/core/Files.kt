package dev.edgeexport.core

import java.io.File
import java.io.FileOutputStream
import java.io.IOException
import java.security.MessageDigest

// Files read and written whole. It knows nothing of what is in them.

private const val CHUNK = 1 shl 16

internal fun hexOf(digest: ByteArray): String = buildString(digest.size * 2) {
    for (byte in digest) {
        append(Character.forDigit(byte.toInt() shr 4 and 0xF, 16))
        append(Character.forDigit(byte.toInt() and 0xF, 16))
    }
}

internal fun sha256Of(data: ByteArray): String = hexOf(MessageDigest.getInstance("SHA-256").digest(data))

internal fun sha256Of(file: File): String {
    val digest = MessageDigest.getInstance("SHA-256")
    val chunk = ByteArray(CHUNK)
    file.inputStream().use { stream ->
        while (true) {
            val count = stream.read(chunk)
            if (count < 0) break
            digest.update(chunk, 0, count)
        }
    }
    return hexOf(digest.digest())
}

/** What went wrong, in the system's own words: "No such file or directory". */
internal fun reason(error: IOException): String {
    val text = firstLine(error)
    // java.io writes "PATH (No such file or directory)"
    return if (text.endsWith(")") && " (" in text) text.substringAfterLast(" (").dropLast(1) else text
}

/** A file's bytes; [BundleException] where it cannot be read, with [advice]. */
internal fun readBytes(file: File, advice: String): ByteArray = try {
    file.readBytes()
} catch (error: IOException) {
    throw BundleException("cannot read $file: ${reason(error)}; $advice", error)
}

/**
 * Put [data] at [file] in one move: it is there whole, or what was there stays; [OutputException] where it cannot be.
 */
internal fun replaceFile(file: File, data: ByteArray) {
    if (file.isDirectory) throw OutputException("$file is a folder; name a file")
    val folder = file.absoluteFile.parentFile
    if (folder == null || !folder.isDirectory) {
        throw OutputException("cannot write $file: there is no folder $folder; make it, or write elsewhere")
    }
    var partial: File? = null
    try {
        partial = File.createTempFile(".edge-export-", null, folder)
        FileOutputStream(partial).use {
            it.write(data)
            it.fd.sync()
        }
        if (!partial.renameTo(file)) throw IOException("cannot be replaced")
    } catch (error: IOException) {
        throw refusal(file, error)
    } finally {
        partial?.delete()
    }
}

internal fun refusal(file: File, error: IOException): OutputException {
    val why = reason(error)
    val advice = if ("No space left" in why || "ENOSPC" in why) "free some space" else "write elsewhere"
    return OutputException("cannot write $file: $why; $advice", error)
}
