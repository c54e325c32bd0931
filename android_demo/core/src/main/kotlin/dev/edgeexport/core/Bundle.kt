package dev.edgeexport.core

import java.io.File
import java.io.IOException
import java.nio.file.Files
import java.nio.file.LinkOption

/**
 * A bundle on disk, opened safely: only plain files inside its folder, each of the recorded size and hash.
 *
 * It knows files, not what is in them. [file] is the only way to one.
 *
 * @property manifestSha256 of manifest.json's bytes: which bundle this is, for records and tags.
 */
public class Bundle private constructor(
    public val folder: File,
    public val manifest: Manifest,
    public val manifestSha256: String,
) {
    /** Where a file of the manifest lies. */
    public fun file(spec: BundleFile): File = File(folder, spec.file)

    /** Whether the golden vectors are here; an app may leave them out of what it ships. */
    public val hasGolden: Boolean get() = file(manifest.golden).exists()

    /**
     * The bundle's tokenizer.
     *
     * @throws BundleException its file is none.
     */
    internal fun readTokenizer(): Tokenizer = Tokenizer.load(file(manifest.tokenizer))

    /** The same bundle, whose folder was moved. */
    internal fun movedTo(place: File): Bundle = Bundle(place, manifest, manifestSha256)

    /**
     * Hold all files against the sizes and hashes that the manifest records; those in [receipts] are not hashed again.
     * What is found right is noted there, as lying in [place].
     */
    private fun check(receipts: Receipts?, trust: Boolean, place: File = folder) {
        // Java's clock counts milliseconds: where a file changed within the same one, it is unsure either way.
        val begunNs = System.currentTimeMillis() * 1_000_000
        val known = if (trust) receipts?.read(folder, manifestSha256).orEmpty() else emptyMap()
        val right = LinkedHashMap<String, Identity>()
        var hashed = false
        for (spec in manifest.files) {
            if (spec === manifest.golden && !hasGolden) continue
            requirePlain(spec)
            val found = Receipts.identity(file(spec))
            if (found == null || known[spec.file] != found) {
                hashed = true
                requireHash(spec)
            }
            if (found != null) right[spec.file] = found
        }
        if (hashed) receipts?.write(place, manifestSha256, right, begunNs)
    }

    /** [BundleException] where it is no plain file of the size that the manifest says. */
    internal fun requirePlain(spec: BundleFile) {
        val file = file(spec)
        val path = file.toPath()
        if (!Files.exists(path, LinkOption.NOFOLLOW_LINKS)) {
            throw BundleException("$file is missing, the manifest lists it; copy or build the bundle again")
        }
        if (!Files.isRegularFile(path, LinkOption.NOFOLLOW_LINKS)) {
            throw BundleException("$file is not a plain file; a bundle holds no links or folders: rebuild it")
        }
        val bytes = file.length()
        if (bytes != spec.bytes) {
            throw BundleException(
                "$file has $bytes bytes, the manifest says ${spec.bytes}; copy or build it again",
            )
        }
    }

    private fun requireHash(spec: BundleFile) {
        val file = file(spec)
        val found = try {
            sha256Of(file)
        } catch (error: IOException) {
            throw BundleException("cannot read $file: ${reason(error)}; check its permissions", error)
        }
        if (found != spec.sha256) {
            throw BundleException(
                "$file was altered: its sha256 is not the manifest's; copy or build the bundle again",
            )
        }
    }

    public companion object {
        /**
         * Open the bundle in [folder]. Files are hashed when they are met for the first time, and after every change:
         * what was found right is noted in [receipts]. [check] hashes them all.
         *
         * It reads files: call it off the main thread.
         *
         * @throws BundleVersionException of another version.
         * @throws BundleException no bundle, a manifest that breaks the contract, or a file that is missing or altered.
         */
        public fun open(folder: File, receipts: Receipts? = null, check: Boolean = false): Bundle =
            read(folder).also { it.check(receipts, trust = !check) }

        /**
         * The same, all of it hashed, of a bundle that is about to be moved to the place that [placeOf] it says, for
         * which [receipts] get their note.
         */
        internal fun openToMove(folder: File, receipts: Receipts?, placeOf: (Bundle) -> File): Bundle =
            read(folder).also { it.check(receipts, trust = false, placeOf(it)) }

        private fun read(folder: File): Bundle {
            if (!folder.isDirectory) {
                throw BundleException("no bundle at $folder: not a folder; make one with `edge-export build`")
            }
            val manifest = Manifest.load(folder)
            return Bundle(folder, manifest, sha256Of(File(folder, MANIFEST_FILE)))
        }
    }
}
