package dev.edgeexport.core

import kotlinx.serialization.json.Json
import kotlinx.serialization.json.jsonArray
import kotlinx.serialization.json.jsonObject
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertFalse
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.BeforeAll
import org.junit.jupiter.api.BeforeEach
import org.junit.jupiter.api.Test
import org.junit.jupiter.api.assertThrows
import org.junit.jupiter.api.io.TempDir
import java.io.File
import java.nio.file.Files
import java.nio.file.attribute.FileTime
import java.util.concurrent.TimeUnit

/** A bundle is hashed when it comes in and after every change; a receipt saves the rest, and never costs a bundle. */
class BundleTest {
    @TempDir
    lateinit var folder: File
    private lateinit var bundle: File
    private lateinit var notes: File
    private lateinit var receipts: Receipts

    @BeforeEach
    fun take() {
        bundle = copies.removeAt(0)
        notes = File(folder, "receipts")
        receipts = Receipts(notes)
    }

    private fun refusal(check: Boolean = false): String =
        assertThrows<BundleException> { Bundle.open(bundle, receipts, check) }.message

    private fun receipt(): File = notes.listFiles()!!.single()

    @Test
    fun `what was found right is noted, in the form of all runtimes, and trusted`() {
        val opened = Bundle.open(bundle, receipts)
        val document = Json.parseToJsonElement(receipt().readText()).jsonObject
        assertEquals(setOf("receipt_version", "manifest_sha256", "files"), document.keys)
        assertEquals(opened.manifestSha256, document.text("manifest_sha256"))
        val files = document.getValue("files").jsonObject
        assertEquals(opened.manifest.files.map { it.file }.toSet(), files.keys)
        assertTrue(files.values.all { it.jsonArray.size == 5 })
        val noted = receipt().lastModified().also { receipt().setLastModified(it - 10_000) }
        Bundle.open(bundle, receipts)
        assertEquals(noted - 10_000, receipt().lastModified(), "nothing was hashed, so nothing was noted")
        Bundle.open(bundle, receipts, check = true)
        assertTrue(receipt().lastModified() > noted - 10_000)
    }

    @Test
    fun `a file that changed is hashed again, though its size and age are the same`() {
        Bundle.open(bundle, receipts)
        val file = File(bundle, "dit.pte")
        val data = file.readBytes().also { it[100] = (it[100] + 1).toByte() }
        val age = Files.getLastModifiedTime(file.toPath())
        file.writeBytes(data)
        Files.setLastModifiedTime(file.toPath(), age)
        assertEquals("$file was altered: its sha256 is not the manifest's; copy or build the bundle again", refusal())
    }

    @Test
    fun `a file that is new, or from the future, is not trusted`() {
        val file = File(bundle, "LICENSE")
        Files.setLastModifiedTime(
            file.toPath(),
            FileTime.from(System.currentTimeMillis() + 3_600_000, TimeUnit.MILLISECONDS),
        )
        Bundle.open(bundle, receipts)
        val files = Json.parseToJsonElement(receipt().readText()).jsonObject.getValue("files").jsonObject
        assertFalse("LICENSE" in files)
        assertTrue("dit.pte" in files)
    }

    @Test
    fun `what a receipt says falsely, a check finds`() {
        Bundle.open(bundle, receipts)
        val file = File(bundle, "dit.pte")
        file.writeBytes(file.readBytes().also { it[100] = (it[100] + 1).toByte() })
        val document = Json.parseToJsonElement(receipt().readText())
        val numbers = Json.parseToJsonElement(Receipts.identity(file).toString())
        // A name with a dot is no dotted path.
        val files = kotlinx.serialization.json.JsonObject(
            document.jsonObject.getValue("files").jsonObject + ("dit.pte" to numbers),
        )
        receipt().writeText(replaced(document, listOf("files"), files).toString())
        Bundle.open(bundle, receipts)
        assertTrue("dit.pte was altered" in refusal(check = true))
    }

    @Test
    fun `a damaged receipt costs a hash and no more`() {
        Bundle.open(bundle, receipts)
        val good = receipt().readText()
        val bad = listOf(
            "", "{", "[]", "null",
            "[".repeat(
                100_000,
            ),
            "{}", good.replace("\"receipt_version\":1", "\"receipt_version\":2"),
            good.replace(Regex("\"manifest_sha256\":\"..."), "\"manifest_sha256\":\"zzz"), good.replace("[", "[\"x\","),
            good.replace(Regex("\\[[0-9]+,"), "[100000000000000000000000000000,"), " ".repeat(1 shl 21) + good,
        )
        for (text in bad) {
            assertTrue(text != good)
            receipt().writeText(text)
            Bundle.open(bundle, receipts)
            assertEquals(good, receipt().readText())
        }
        receipt().writeBytes(byteArrayOf(-1, -2))
        Bundle.open(bundle, receipts)
        assertEquals(good, receipt().readText())
    }

    @Test
    fun `where no receipt can be kept, the bundle opens all the same`() {
        val file = File(folder, "file").apply { writeText("") }
        Bundle.open(bundle, Receipts(file))
        Bundle.open(bundle, Receipts(File(file, "below")))
        Bundle.open(bundle, null)
        val taken = File(notes, sha256Of(bundle.canonicalPath.toByteArray()).take(32) + ".json").apply { mkdirs() }
        Bundle.open(bundle, receipts)
        assertTrue(taken.isDirectory)
    }

    @Test
    fun `the oldest receipts go, and what killed runs left`() {
        notes.mkdirs()
        val hour = TimeUnit.HOURS.toMillis(1)
        val now = System.currentTimeMillis()
        for (age in 1..300) File(notes, "$age.json").apply { writeText("{}") }.setLastModified(now - age * 1000)
        for ((name, age) in listOf("old" to 25 * hour, "new" to hour)) {
            File(notes, ".edge-export-$name").apply { writeText("") }.setLastModified(now - age)
        }
        Bundle.open(bundle, receipts)
        val kept = notes.list()!!.toSet()
        assertEquals(257, kept.size)
        assertTrue(
            ".edge-export-new" in kept && ".edge-export-old" !in kept && "255.json" in kept && "256.json" !in kept,
        )
    }

    @Test
    fun `golden vectors may be left out, other files may not`() {
        File(bundle, "golden.safetensors").delete()
        val opened = Bundle.open(bundle, receipts)
        assertFalse(opened.hasGolden)
        assertTrue("was left out of this bundle" in assertThrows<BundleException> { opened.readGolden() }.message)
        val file = File(bundle, "dit.pte")
        file.delete()
        assertEquals("$file is missing, the manifest lists it; copy or build the bundle again", refusal())
    }

    @Test
    fun `a link, a folder and another size are refused`() {
        val file = File(bundle, "LICENSE")
        val data = file.readBytes()
        val elsewhere = File(folder, "elsewhere").apply { writeBytes(data) }
        file.delete()
        Files.createSymbolicLink(file.toPath(), elsewhere.toPath())
        val notPlain = "$file is not a plain file; a bundle holds no links or folders: rebuild it"
        assertEquals(notPlain, refusal())
        file.delete()
        file.mkdir()
        assertEquals(notPlain, refusal())
        file.delete()
        file.writeBytes(data + 0)
        assertEquals("$file has 43 bytes, the manifest says 42; copy or build it again", refusal())
    }

    @Test
    fun `golden vectors of other shapes are refused`() {
        val opened = Bundle.open(bundle)
        val golden = opened.file(opened.manifest.golden)
        val text = golden.readBytes()
        val table = String(text, 8, 2000, Charsets.ISO_8859_1)
        val at = 8 + table.indexOf("\"sigmas\"")
        golden.writeBytes(text.also { "\"sogmas\"".toByteArray().copyInto(it, at) })
        val error = assertThrows<BundleException> { opened.readGolden() }
        assertEquals("$golden: sigmas is missing, expected float32[5]; rebuild the bundle", error.message)
    }

    @Test
    fun `no folder is no bundle`() {
        bundle = File(folder, "none")
        assertEquals("no bundle at $bundle: not a folder; make one with `edge-export build`", refusal())
    }

    companion object {
        /** A file younger than 2 s is hashed again whatever a receipt says. */
        private const val UNSURE_MS = 2_100L
        private const val TESTS = 12
        private val copies = ArrayList<File>()

        /** Old enough to be trusted, all made before one wait. */
        @BeforeAll
        @JvmStatic
        fun copyAll(@TempDir shared: File) {
            repeat(TESTS) { copies += copyOfBundle(File(shared, "$it")) }
            Thread.sleep(UNSURE_MS)
        }
    }
}
