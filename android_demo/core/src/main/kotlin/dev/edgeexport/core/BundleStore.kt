package dev.edgeexport.core

import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.NonCancellable
import kotlinx.coroutines.currentCoroutineContext
import kotlinx.coroutines.ensureActive
import kotlinx.coroutines.withContext
import java.io.ByteArrayOutputStream
import java.io.File
import java.io.FileNotFoundException
import java.io.FileOutputStream
import java.io.IOException
import java.io.InputStream
import java.nio.file.Files
import java.nio.file.LinkOption
import java.util.UUID
import java.util.zip.ZipEntry
import java.util.zip.ZipException
import java.util.zip.ZipInputStream
import kotlin.coroutines.CoroutineContext

/**
 * The bundles that an app keeps in [folder], each in a folder of its own, named after its manifest's sha256.
 *
 * What comes in is copied beside them, checked as a whole, and then appears in one move: a bundle is there complete or
 * not at all. One process uses a store at a time.
 *
 * @param target the device family that this app is of, such as "android-arm64"; bundles for others are refused.
 * @param receipts where to note which files were hashed.
 * @param room free bytes of a folder's disk; the system's answer, unless a test gives another.
 */
public class BundleStore(
    private val folder: File,
    private val target: String,
    private val receipts: Receipts? = null,
    private val room: (File) -> Long = File::getUsableSpace,
) {
    /** The folders of all bundles that were accepted, the newest first. */
    public fun folders(): List<File> = folder.listFiles().orEmpty()
        .filter { it.isDirectory && NAME.matches(it.name) }
        .sortedByDescending { File(it, MANIFEST_FILE).lastModified() }

    /**
     * Open the bundle in one of [folders].
     *
     * @throws BundleException as [Bundle.open] does, or it is for another target.
     */
    public fun open(bundle: File): Bundle = Bundle.open(bundle, receipts).also { requireTarget(it.manifest) }

    /**
     * Remove a bundle, at once as far as anyone sees. Programs that are loaded from it play on until they are closed.
     *
     * @throws UsageException [bundle] is none of [folders].
     */
    public fun delete(bundle: File) {
        if (bundle.absoluteFile.parentFile != folder.absoluteFile || !NAME.matches(bundle.name)) {
            throw UsageException("$bundle is no bundle of the store in $folder; take one of its folders")
        }
        val gone = File(folder, PARTIAL + UUID.randomUUID())
        (if (bundle.renameTo(gone)) gone else bundle).deleteRecursively()
    }

    /** Remove what imports left behind that were killed. To be called at the start, before the first import. */
    public fun cleanUp() {
        folder.listFiles().orEmpty().filter { it.name.startsWith(PARTIAL) }.forEach { it.deleteRecursively() }
    }

    /**
     * Take in a copy of the bundle in the folder [from]. A bundle that is here already is left as it is.
     *
     * Cancelling leaves nothing behind. [onBytes] is called with the bytes copied so far.
     *
     * @throws BundleException it is no bundle, damaged, of another version or target.
     * @throws OutputException there is no room.
     */
    public suspend fun importFolder(from: File, onBytes: (Long) -> Unit = {}): Bundle = import(onBytes) { taking ->
        val manifest = Manifest.load(from)
        taking.accept(manifest)
        val golden = manifest.golden
        for (spec in manifest.files) {
            val file = File(from, spec.file)
            val present = Files.exists(file.toPath(), LinkOption.NOFOLLOW_LINKS)
            if (spec === golden && !present) continue
            if (!Files.isRegularFile(file.toPath(), LinkOption.NOFOLLOW_LINKS)) {
                throw BundleException(
                    "$file is ${if (present) "not a plain file" else "missing"}, the manifest lists it; copy it again",
                )
            }
            reading("$file") { file.inputStream().use { taking.take(spec.file, it) } }
        }
        val file = File(from, MANIFEST_FILE)
        reading("$file") { file.inputStream().use { taking.take(MANIFEST_FILE, it) } }
    }

    /**
     * Take in a bundle whose files [open] gives by their names, such as those of an app's assets. A bundle that is here
     * already is left as it is.
     *
     * Cancelling leaves nothing behind. [onBytes] is called with the bytes copied so far.
     *
     * @param name what messages call the place.
     * @param open the file's bytes from its beginning; it throws [FileNotFoundException] where there is no such file.
     * @throws BundleException it is no bundle, damaged, of another version or target.
     * @throws OutputException there is no room.
     */
    public suspend fun importFiles(name: String, onBytes: (Long) -> Unit = {}, open: (String) -> InputStream): Bundle =
        import(onBytes) { taking ->
            reading("$name/$MANIFEST_FILE") { open(MANIFEST_FILE).use { taking.takeManifest(name, it) } }
            for (spec in taking.expected) {
                reading("$name/${spec.file}") {
                    val stream = try {
                        open(spec.file)
                    } catch (error: FileNotFoundException) {
                        if (taking.isGolden(spec)) return@reading
                        throw error
                    }
                    stream.use { taking.take(spec.file, it) }
                }
            }
        }

    /**
     * Take in a bundle from a zip: its files, or one folder of them, and nothing else. The stream is read to its end
     * and not closed. A bundle that is here already is left as it is.
     *
     * Cancelling leaves nothing behind. [onBytes] is called with the bytes unpacked so far.
     *
     * @param name what messages call the zip.
     * @throws BundleException it is no zip of a bundle, unsafe to unpack, damaged, of another version or target.
     * @throws OutputException there is no room.
     */
    public suspend fun importZip(zip: InputStream, name: String, onBytes: (Long) -> Unit = {}): Bundle =
        import(onBytes) { taking ->
            val counted = CountedStream(zip)
            reading(name) {
                // Not closed: the stream is the caller's, and the inflater's memory goes with this object.
                val entries = ZipInputStream(counted)
                ZipReader(name, taking, counted).readAll(entries)
            }
        }

    private suspend fun import(onBytes: (Long) -> Unit, fill: (Taking) -> Unit): Bundle {
        val caller = currentCoroutineContext()
        // Looked at up to the move, and not after: who is told of a cancellation finds nothing in the store.
        return withContext(NonCancellable) {
            withContext(Dispatchers.IO) { imported(caller, onBytes, fill) }
        }
    }

    private fun imported(caller: CoroutineContext, onBytes: (Long) -> Unit, fill: (Taking) -> Unit): Bundle {
        folder.mkdirs() // or another import does
        if (!folder.isDirectory) {
            throw OutputException("cannot make the folder $folder; keep bundles elsewhere")
        }
        val partial = File(folder, PARTIAL + UUID.randomUUID())
        try {
            if (!partial.mkdir()) throw OutputException("cannot make the folder $partial; keep bundles elsewhere")
            fill(Taking(partial, caller, onBytes))
            return accepted(partial, caller)
        } finally {
            partial.deleteRecursively()
        }
    }

    /** Check what was copied, as it lies on the disk, and move it to its place. */
    private fun accepted(partial: File, caller: CoroutineContext): Bundle {
        val bundle = Bundle.openToMove(partial, receipts, ::placeOf)
        return synchronized(MOVING) {
            caller.ensureActive()
            moved(partial, bundle)
        }
    }

    private fun moved(partial: File, bundle: Bundle): Bundle {
        val place = placeOf(bundle)
        if (place.exists()) {
            try {
                return Bundle.open(place, receipts, check = true)
            } catch (_: BundleException) {
                delete(place) // damaged meanwhile: what was just checked takes its place
            }
        }
        if (!partial.renameTo(place)) throw OutputException("cannot move $partial to $place; keep bundles elsewhere")
        return bundle.movedTo(place)
    }

    private fun placeOf(bundle: Bundle) = File(folder, bundle.manifestSha256.take(NAME_DIGITS))

    private fun requireTarget(manifest: Manifest) {
        if (manifest.target.name != target) {
            throw BundleException(
                "the bundle is for ${manifest.target.name}, this is $target; " +
                    "build it with `edge-export build --target $target`",
            )
        }
    }

    /** What an import writes, into a folder that nobody else looks at. */
    internal inner class Taking(
        private val partial: File,
        private val context: CoroutineContext,
        private val onBytes: (Long) -> Unit,
    ) {
        private var manifest: Manifest? = null

        /** Bytes written so far. */
        var written = 0L
            private set

        val names = HashSet<String>()
        val isManifestKnown get() = manifest != null

        /** What the manifest names. */
        val expected get() = manifest?.files.orEmpty()

        /** The golden vectors need not come. */
        fun isGolden(spec: BundleFile) = spec === manifest?.golden

        /** The manifest from [stream], of what messages call [name], read whole first: what follows is bounded by it. */
        fun takeManifest(name: String, stream: InputStream) {
            val text = stream.readUpTo(MAX_MANIFEST_BYTES.toInt() + 1)
            if (text.size > MAX_MANIFEST_BYTES) {
                throw BundleException(
                    "$name: $MANIFEST_FILE: is larger than ${MAX_MANIFEST_BYTES shr 20} MiB; no bundle of ours",
                )
            }
            take(MANIFEST_FILE, text.inputStream())
            accept(Manifest.parse(textOf(text) ?: throw BundleException("$name: $MANIFEST_FILE is not UTF-8")))
        }

        /** From here on only the manifest's files come in, none larger than it says; refused where there is no room. */
        fun accept(manifest: Manifest) {
            requireTarget(manifest)
            this.manifest = manifest
            names.forEach(::limitOf)
            val missing = manifest.files.filter { it.file !in names }.sumOf { it.bytes }
            requireRoom(missing)
        }

        fun take(name: String, from: InputStream, onChunk: () -> Unit = {}) {
            val most = limitOf(name)
            if (!names.add(name)) throw BundleException("$name comes twice; make the bundle's copy again")
            val file = File(partial, name)
            val out = writing(file) { FileOutputStream(file) }
            out.use {
                copy(from, out, file, most, onChunk)
                writing(file) { out.fd.sync() }
            }
        }

        private fun limitOf(name: String): Long {
            val files = (manifest ?: return MAX_FILE_BYTES).files
            if (name == MANIFEST_FILE) return MAX_MANIFEST_BYTES
            return files.find { it.file == name }?.bytes ?: throw BundleException(
                "$name is no file of the bundle: the manifest does not name it; zip a bundle's folder",
            )
        }

        private fun copy(from: InputStream, out: FileOutputStream, file: File, most: Long, onChunk: () -> Unit) {
            val chunk = ByteArray(CHUNK)
            var bytes = 0L
            while (true) {
                context.ensureActive()
                val count = from.read(chunk)
                if (count < 0) return
                bytes += count
                if (bytes > most) {
                    throw BundleException("${file.name} is larger than the $most bytes that it may have; copy it again")
                }
                if (!isManifestKnown) requireRoom(count.toLong())
                writing(file) { out.write(chunk, 0, count) }
                written += count
                onChunk()
                onBytes(written)
            }
        }

        private fun requireRoom(bytes: Long) {
            val free = room(folder)
            if (free < bytes + RESERVE) {
                val (needed, left) = listOf(bytes + RESERVE, free).map { fixed(it / MEGA, 0) }
                throw OutputException(
                    "this needs $needed MB on the disk of $folder, $left MB are free; free some space",
                )
            }
        }

        private fun <T> writing(file: File, action: () -> T): T = try {
            action()
        } catch (error: IOException) {
            throw refusal(file, error)
        }
    }

    internal companion object {
        private const val PARTIAL = ".import-"
        private const val NAME_DIGITS = 32
        private const val CHUNK = 1 shl 16
        private const val MEGA = 1e6

        /** Of two imports of one bundle, the second finds the first's. */
        private val MOVING = Any()

        /** Left free on the disk for everybody else. */
        const val RESERVE = 32L shl 20
        private val NAME = Regex("[0-9a-f]{$NAME_DIGITS}")

        private inline fun reading(name: String, action: () -> Unit) {
            try {
                action()
            } catch (error: ZipException) {
                throw BundleException("$name is no zip that can be read: ${firstLine(error)}; copy it again", error)
            } catch (error: IllegalArgumentException) {
                throw BundleException("$name is no zip that can be read: a name in it is no text; copy it again", error)
            } catch (error: IOException) {
                throw BundleException("cannot read $name: ${reason(error)}; copy it again", error)
            }
        }
    }
}

/** Reads a zip from a stranger: plain names alone, each once, and no more than [zip] can have packed. */
private class ZipReader(
    private val name: String,
    private val taking: BundleStore.Taking,
    private val zip: CountedStream,
) {
    private var prefix: String? = null

    fun readAll(entries: ZipInputStream) {
        var count = 0
        while (true) {
            val entry = entries.nextEntry ?: break
            if (++count > MOST_ENTRIES) throw unsafe("holds more than $MOST_ENTRIES entries")
            if (!entry.isDirectory && !isOfMacOs(entry)) take(entry, entries)
        }
        if (MANIFEST_FILE !in taking.names) {
            throw BundleException("$name is no zip of a bundle: it holds no $MANIFEST_FILE; zip a bundle's folder")
        }
    }

    private fun take(entry: ZipEntry, entries: ZipInputStream) {
        val file = plainName(entry.name)
        if (file == MANIFEST_FILE) taking.takeManifest(name, entries) else taking.take(file, entries, ::refuseBomb)
    }

    /** The entry's name without the one folder that all may lie in. */
    private fun plainName(path: String): String {
        val folder = path.substringBeforeLast('/', "")
        val plain = path.substringAfterLast('/')
        val first = prefix ?: folder.also { prefix = it }
        if (folder != first || !FOLDER.matches(folder) || !FILE.matches(plain)) {
            throw unsafe("holds ${quoted(path.firstPoints(60))}, which is no file of one bundle")
        }
        return plain
    }

    private fun refuseBomb() {
        if (taking.written > SURE_BYTES && taking.written > MOST_RATIO * zip.count) {
            throw unsafe("grows to more than $MOST_RATIO times its size, as no bundle does")
        }
    }

    private fun unsafe(problem: String) =
        BundleException("$name is unsafe to unpack: it $problem; zip a bundle's folder")

    private fun isOfMacOs(entry: ZipEntry): Boolean =
        entry.name.startsWith("__MACOSX/") || entry.name.substringAfterLast('/') == ".DS_Store"

    private companion object {
        const val MOST_ENTRIES = 1000
        const val MOST_RATIO = 100
        const val SURE_BYTES = 1L shl 20
        val FOLDER = Regex("|[A-Za-z0-9][A-Za-z0-9 ._()-]{0,127}")
        val FILE = Regex("[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
    }
}

/** The same stream, and how many bytes were read of it. */
private class CountedStream(private val from: InputStream) : InputStream() {
    var count = 0L
        private set

    override fun read(): Int = from.read().also { if (it >= 0) count++ }

    override fun read(data: ByteArray, offset: Int, length: Int): Int =
        from.read(data, offset, length).also { if (it > 0) count += it }
}

private fun InputStream.readUpTo(most: Int): ByteArray {
    val made = ByteArrayOutputStream()
    val chunk = ByteArray(1 shl 13)
    while (made.size() < most) {
        val count = read(chunk, 0, minOf(chunk.size, most - made.size()))
        if (count < 0) break
        made.write(chunk, 0, count)
    }
    return made.toByteArray()
}
