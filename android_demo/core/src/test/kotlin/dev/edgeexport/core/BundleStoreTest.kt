package dev.edgeexport.core

import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.cancel
import kotlinx.coroutines.currentCoroutineContext
import kotlinx.coroutines.job
import kotlinx.coroutines.launch
import kotlinx.coroutines.runBlocking
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.Test
import org.junit.jupiter.api.assertThrows
import org.junit.jupiter.api.io.TempDir
import java.io.ByteArrayInputStream
import java.io.ByteArrayOutputStream
import java.io.File
import java.io.FileNotFoundException
import java.io.FileOutputStream
import java.io.IOException
import java.io.InputStream
import java.util.zip.ZipEntry
import java.util.zip.ZipOutputStream

private val NAMES =
    listOf(
        "manifest.json",
        "conditioner.pte",
        "dit.pte",
        "decoder.pte",
        "decoder_tail.pte",
        "tokenizer.json",
        "LICENSE",
        "golden.safetensors",
    )

/** A bundle is taken in whole or not at all, whatever a stranger's zip or folder holds. */
class BundleStoreTest {
    @TempDir
    lateinit var folder: File
    private val kept get() = File(folder, "bundles")
    private val store get() = BundleStore(kept, "android-arm64")

    private fun zip(
        names: List<String> = NAMES,
        prefix: String = "",
        also: Map<String, ByteArray> = emptyMap(),
    ): ByteArray = zipOf(names.map { prefix + it to File(TINY_BUNDLE, it).readBytes() } + also.toList())

    private fun zipOf(entries: List<Pair<String, ByteArray>>): ByteArray {
        val made = ByteArrayOutputStream()
        ZipOutputStream(made).use { zip ->
            for ((name, data) in entries) {
                zip.putNextEntry(ZipEntry(name))
                if (!name.endsWith("/")) zip.write(data)
                zip.closeEntry()
            }
        }
        return made.toByteArray()
    }

    private fun taken(data: ByteArray, store: BundleStore = this.store): Bundle =
        runBlocking { store.importZip(ByteArrayInputStream(data), "x.zip") }

    private inline fun <reified Refusal : EdgeExportException> refusal(crossinline action: suspend () -> Unit): String {
        val message = assertThrows<Refusal> { runBlocking { action() } }.message
        assertEquals(emptyList<String>(), kept.list().orEmpty().toList(), message)
        return message
    }

    private fun refused(data: ByteArray): String = refusal<BundleException> { taken(data) }

    @Test
    fun `a zip comes in, in any order, with or without a folder`() {
        for (data in listOf(
            zip(),
            zip(NAMES.reversed()),
            zip(prefix = "bundle/"),
            zip(
                prefix = "my bundle (1)/",
                also = mapOf(
                    "__MACOSX/._x" to ByteArray(9),
                    "my bundle (1)/.DS_Store" to ByteArray(9),
                ),
            ),
            zipOf(listOf("bundle/" to ByteArray(0)) + NAMES.map { "bundle/$it" to File(TINY_BUNDLE, it).readBytes() }),
        )) {
            val bundle = taken(data)
            assertEquals(listOf(bundle.folder), store.folders())
            assertEquals("tiny", store.open(bundle.folder).manifest.model.name)
            store.delete(bundle.folder)
            assertEquals(emptyList<String>(), kept.list()!!.toList())
        }
    }

    @Test
    fun `a folder comes in, and progress is reported`() {
        val progress = ArrayList<Long>()
        val bundle = runBlocking { store.importFolder(TINY_BUNDLE) { progress += it } }
        assertEquals(NAMES.sumOf { File(TINY_BUNDLE, it).length() }, progress.last())
        assertEquals(progress.sorted(), progress)
        Bundle.open(bundle.folder, check = true)
    }

    @Test
    fun `files come in by their names, without golden vectors or with them, and no others`() {
        fun comeIn(names: List<String>) = runBlocking {
            store.importFiles("assets") {
                if (it in names) File(TINY_BUNDLE, it).inputStream() else throw FileNotFoundException(it)
            }
        }
        for (names in listOf(NAMES, NAMES - "golden.safetensors")) {
            val bundle = comeIn(names)
            assertEquals("golden.safetensors" in names, Bundle.open(bundle.folder, check = true).hasGolden)
            store.delete(bundle.folder)
        }
        for (lacking in NAMES - "golden.safetensors") {
            val message = refusal<BundleException> { comeIn(NAMES - lacking) }
            assertEquals("cannot read assets/$lacking: $lacking; copy it again", message)
        }
    }

    @Test
    fun `what was hashed when it came in need not be hashed when it is opened`() {
        val receipts = Receipts(File(folder, "receipts"))
        val store = BundleStore(kept, "android-arm64", receipts)
        val last = NAMES.sumOf { File(TINY_BUNDLE, it).length() }
        val bundle = runBlocking {
            store.importFolder(TINY_BUNDLE) { if (it == last) Thread.sleep(2_100) } // younger files are not trusted
        }
        val known = receipts.read(bundle.folder, bundle.manifestSha256)
        assertEquals(bundle.manifest.files.associate { it.file to Receipts.identity(bundle.file(it)) }, known)
    }

    @Test
    fun `without golden vectors it comes in as well`() {
        assertEquals(false, taken(zip(NAMES - "golden.safetensors")).hasGolden)
    }

    @Test
    fun `what is here already stays, and what is damaged is replaced`() {
        val first = taken(zip())
        assertEquals(first.folder, taken(zip(NAMES.reversed())).folder)
        File(first.folder, "dit.pte").writeBytes(ByteArray(9))
        assertThrows<BundleException> { store.open(first.folder) }
        assertEquals(first.folder, taken(zip()).folder)
        Bundle.open(first.folder, check = true)
        assertEquals(1, kept.list()!!.size)
    }

    @Test
    fun `a path outside, in whatever words, is refused`() {
        val windows = listOf("..\\evil", "C:\\evil")
        val names = windows + listOf("../evil", "/etc/evil", "a/../../evil", "a/b/evil", "..", ".hidden", "\u0000")
        for (name in names) {
            assertTrue("unsafe to unpack" in refused(zip(also = mapOf(name to ByteArray(3)))), name)
            assertTrue("unsafe to unpack" in refused(zipOf(listOf(name to ByteArray(3)))), name)
        }
        assertEquals(listOf("bundles"), folder.list()!!.toList())
    }

    @Test
    fun `two entries of one name are refused`() {
        // java.util.zip writes no such zip: of two names of one length, one is made the other's.
        val twice = String(
            zip(also = mapOf("LICENSF" to ByteArray(3))),
            Charsets.ISO_8859_1,
        ).replace("LICENSF", "LICENSE")
        assertEquals(
            "LICENSE comes twice; make the bundle's copy again",
            refused(twice.toByteArray(Charsets.ISO_8859_1)),
        )
    }

    @Test
    fun `a file that the manifest does not name is refused, before it and behind it`() {
        val bundle = NAMES.map { it to File(TINY_BUNDLE, it).readBytes() }
        val extra = listOf("extra" to ByteArray(3))
        for (entries in listOf(bundle + extra, extra + bundle)) {
            val expected = "extra is no file of the bundle: the manifest does not name it; zip a bundle's folder"
            assertEquals(expected, refused(zipOf(entries)))
        }
    }

    @Test
    fun `a bomb is stopped, before the manifest and behind it`() {
        val zeros = ByteArray(32 shl 20)
        assertTrue("grows to more than 100 times its size" in refused(zipOf(listOf("dit.pte" to zeros))))
        val behind = refused(
            zipOf(
                listOf(
                    "manifest.json" to File(TINY_BUNDLE, "manifest.json").readBytes(),
                    "dit.pte" to zeros,
                ),
            ),
        )
        assertTrue("dit.pte is larger than the 479104 bytes" in behind, behind)
        assertTrue("is larger than 4 MiB" in refused(zipOf(listOf("manifest.json" to ByteArray(5 shl 20)))))
        val many = refused(zipOf(List(1001) { "f$it" to ByteArray(0) }))
        assertTrue("more than 1000 entries" in many, many)
    }

    @Test
    fun `what is no zip, or a broken one, is refused`() {
        assertTrue("it holds no manifest.json" in refused(ByteArray(0)))
        assertTrue("it holds no manifest.json" in refused("no zip at all".toByteArray()))
        assertTrue("it holds no manifest.json" in refused(zip(NAMES - "manifest.json")))
        val whole = zip()
        for (end in listOf(10, 100, 5_000, whole.size / 2)) refused(whole.copyOf(end))
        for (place in listOf(3_000, 100_000, 900_000)) {
            refused(
                whole.clone().also {
                    it[place] = (it[place] + 1).toByte()
                },
            )
        }
        assertTrue("is missing, the manifest lists it" in refused(zip(NAMES - "dit.pte")))
    }

    @Test
    fun `an altered, an older and a foreign bundle are refused`() {
        val manifest = File(TINY_BUNDLE, "manifest.json").readText()
        fun with(text: String) = zip(NAMES - "manifest.json", also = mapOf("manifest.json" to text.toByteArray()))
        assertTrue("seal: is not that of this file" in refused(with(manifest.replace("\"tiny\"", "\"tuny\""))))
        val old = manifest.replace("\"schema_version\": $SCHEMA_VERSION", "\"schema_version\": 3")
        assertTrue("made by an earlier version" in refusal<BundleVersionException> { taken(with(old)) })
        val other = refusal<BundleException> { taken(zip(), BundleStore(kept, "ios-arm64")) }
        assertTrue(other.startsWith("the bundle is for android-arm64, this is ios-arm64"), other)
        val folder = refusal<BundleException> { BundleStore(kept, "ios-arm64").importFolder(TINY_BUNDLE) }
        assertTrue(folder.startsWith("the bundle is for android-arm64"), folder)
        refusal<BundleException> { store.importFolder(File(this.folder, "none")) }
    }

    @Test
    fun `room is asked first, and again while nothing is known`() {
        val little = BundleStore(kept, "android-arm64", room = { BundleStore.RESERVE + 100_000 })
        var read = 0L
        val first = refusal<OutputException> {
            little.importZip(ByteArrayInputStream(zip()), "x.zip") { read = it }
        }
        assertTrue(first.startsWith("this needs 36 MB on the disk of $kept, 34 MB are free; free some space"), first)
        assertTrue(read < 10_000, "$read")
        refusal<OutputException> { little.importFolder(TINY_BUNDLE) }
        var room = BundleStore.RESERVE + (1 shl 20)
        val shrinking = BundleStore(kept, "android-arm64", room = { room.also { room -= 1 shl 16 } })
        refusal<OutputException> { shrinking.importZip(ByteArrayInputStream(zip(NAMES.reversed())), "x.zip") }
    }

    @Test
    fun `a stream that breaks off leaves nothing`() {
        for (most in listOf(0, 5_000, 500_000)) {
            val broken = object : InputStream() {
                private val data = ByteArrayInputStream(zip())
                private var left = most

                override fun read(): Int = if (left-- > 0) data.read() else throw IOException("the cable was pulled")
            }
            val error = refusal<BundleException> { store.importZip(broken, "x.zip") }
            assertEquals("cannot read x.zip: the cable was pulled; copy it again", error)
        }
    }

    @Test
    fun `nothing is deleted that is no bundle of the store`(@TempDir other: File) {
        val file = File(other, "file").apply { writeText("x") }
        for (folder in listOf(other, kept, File(kept, ".."))) {
            assertThrows<UsageException> { store.delete(folder) }
        }
        assertTrue(file.exists())
    }

    @Test
    fun `cancelling at any moment leaves nothing`() {
        val allButTheLast = TINY_BUNDLE.listFiles().orEmpty().sumOf { it.length() } - 1
        for (most in listOf(1L, 300_000L, 1_500_000L, allButTheLast)) {
            for (isZip in listOf(true, false)) {
                runBlocking {
                    val job = launch(Dispatchers.Default) {
                        val job = currentCoroutineContext().job
                        val stop = { bytes: Long -> if (bytes > most) job.cancel() }
                        if (isZip) {
                            store.importZip(
                                ByteArrayInputStream(zip()),
                                "x.zip",
                                stop,
                            )
                        } else {
                            store.importFolder(TINY_BUNDLE, stop)
                        }
                    }
                    job.join()
                    assertTrue(job.isCancelled)
                }
                assertEquals(emptyList<String>(), kept.list().orEmpty().toList())
            }
        }
    }

    @Test
    fun `a disk that fills up in the middle asks for space`() {
        val file = File("/dev/full")
        if (!file.exists()) return
        val error = assertThrows<IOException> { FileOutputStream(file).use { it.write(ByteArray(9)) } }
        assertEquals("cannot write $file: No space left on device; free some space", refusal(file, error).message)
    }

    @Test
    fun `what a killed import left is cleaned up, and bundles stay`() {
        val bundle = taken(zip())
        File(kept, ".import-left").mkdirs()
        File(kept, ".import-left/dit.pte").writeText("half")
        assertEquals(listOf(bundle.folder), store.folders())
        store.cleanUp()
        assertEquals(listOf(bundle.folder.name), kept.list()!!.toList())
    }

    @Test
    fun `a folder that cannot be made is named`() {
        val file = File(folder, "file").apply { writeText("") }
        val broken = BundleStore(File(file, "bundles"), "android-arm64")
        val error = assertThrows<OutputException> { taken(zip(), broken) }
        assertTrue(error.message.startsWith("cannot make the folder"))
    }

    @Test
    fun `two imports at once of one bundle give one, into a folder that neither finds`() = runBlocking {
        val data = zip()
        repeat(20) { round ->
            val store = BundleStore(File(folder, "round $round"), "android-arm64")
            val jobs = List(2) { launch(Dispatchers.IO) { store.importZip(ByteArrayInputStream(data), "x.zip") } }
            jobs.forEach { it.join() }
            assertEquals(1, store.folders().size)
        }
        currentCoroutineContext().job.children.forEach { it.cancel() }
    }
}
