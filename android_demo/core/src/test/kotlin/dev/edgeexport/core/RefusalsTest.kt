package dev.edgeexport.core

import kotlinx.serialization.json.Json
import kotlinx.serialization.json.jsonObject
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.Test
import org.junit.jupiter.api.TestFactory
import org.junit.jupiter.api.assertThrows
import org.junit.jupiter.api.io.TempDir
import java.io.ByteArrayOutputStream
import java.io.File
import java.io.RandomAccessFile
import kotlin.random.Random

/** Strangers' files: what the reference refuses is refused, in the same words; and nothing else ever escapes. */
class RefusalsTest {
    @TempDir
    lateinit var folder: File

    @Test
    fun `the good files are taken`() {
        val manifest = Manifest.parse(document("broken/manifests").text("good"))
        assertEquals(listOf("conditioner", "dit", "decoder"), manifest.programs.keys.toList())
        assertEquals("birds, 鳥", manifest.golden.request.prompt)
        val names =
            listOf("conditioner.pte", "dit.pte", "decoder.pte", "tokenizer.json", "LICENSE.txt", "golden.safetensors")
        assertEquals(names, manifest.files.map { it.file })
        assertEquals(listOf(6, 3, 2, 3, 4, 7), load(document("broken/tokenizers").text("good")).encode("bb a<x>"))
    }

    @Test
    fun `a decoder of two programs is taken`() {
        val spec = Manifest.parse(document("broken/manifests").text("tailed")).generation
        assertEquals(ROLES, spec.programs.keys.toList())
        assertEquals(FeaturesSpec(rate = 4, margin = 2), spec.features)
        assertEquals(listOf(16, 20, 512), listOf(spec.window, spec.tile, spec.tailHop))
    }

    @TestFactory
    fun manifests() = document("broken/manifests").let { fixture ->
        each("broken/manifests") { case ->
            val good = fixture.text(if ("of" in case) case.text("of") else "good")
            val text = when {
                "text" in case -> case.text("text")
                "old" in case -> good.replace(case.text("old"), case.text("new"))
                "sealed" in case -> altered(good, case).toString()
                else -> resealed(altered(good, case).jsonObject)
            }
            assertRefused<BundleException>(case) { Manifest.parse(text) }
        }
    }

    @TestFactory
    fun tokenizers() = document("broken/tokenizers").text("good").let { good ->
        each("broken/tokenizers") { case ->
            val text = if ("text" in case) case.text("text") else ascii(altered(good, case))
            assertRefused<BundleException>(case, File(folder, "tokenizer.json")) { load(text) }
        }
    }

    @TestFactory
    fun records() = document("broken/records").text("good").let { good ->
        each("broken/records") { case ->
            val text = if ("text" in case) case.text("text") else ascii(altered(good, case))
            assertRefused<RecordException>(case) { Record.parse(text) }
        }
    }

    @TestFactory
    fun safetensors() = each("broken/safetensors") { case ->
        val file = File(folder, "golden.safetensors").apply { writeBytes(bytesOf(case.text("data"))) }
        assertRefused<BundleException>(case, file) { Safetensors.read(file) }
    }

    @TestFactory
    fun tags() = each("broken/tags") { case ->
        val file = File(folder, "x.wav").apply { writeBytes(bytesOf(case.text("data"))) }
        assertRefused<UsageException>(case, file) { Tags.read(file) }
    }

    @Test
    fun `a record is written as it was read`() {
        val good = document("broken/records").text("good")
        val out = ByteArrayOutputStream().also { Record.parse(good).write(it) }
        assertEquals(good, out.toString("UTF-8"))
    }

    @Test
    fun `another version is an error of its own`() {
        val text = document(
            "broken/manifests",
        ).text("good").replace("\"schema_version\": $SCHEMA_VERSION", "\"schema_version\": ${SCHEMA_VERSION + 1}")
        val error = assertThrows<BundleVersionException> { Manifest.parse(text) }
        assertEquals(SCHEMA_VERSION + 1L, error.found)
        assertEquals(4, error.exitCode)
    }

    @Test
    fun `nesting that would exhaust the stack is refused`() {
        for (text in listOf("[".repeat(100_000), "{\"a\":".repeat(100_000), "[[],".repeat(1000))) {
            assertTrue(
                "nested more" in assertThrows<BundleException> {
                    Manifest.parse(text)
                }.message || text.length < 5000,
            )
        }
    }

    @Test
    fun `files too large to be true are not read`() {
        for ((name, size, read) in listOf<Triple<String, Long, (File) -> Any>>(
            Triple("tokenizer.json", (64L shl 20) + 1, Tokenizer::load),
            Triple("golden.safetensors", (1L shl 30) + 1, Safetensors::read),
            Triple("run.json", (1L shl 30) + 1, Record::read),
        )) {
            val file = File(folder, name)
            RandomAccessFile(file, "rw").use { it.setLength(size) }
            assertTrue("more than 64" in refusal { read(file) } || "larger than 1024 MiB" in refusal { read(file) })
        }
        RandomAccessFile(File(folder, "manifest.json"), "rw").use { it.setLength(1L shl 33) }
        assertTrue("larger than 4 MiB" in refusal { Manifest.load(folder) })
    }

    @Test
    fun `what is no file is one line`() {
        val none = File(folder, "none")
        assertEquals(
            "cannot read $none: No such file or directory; copy or build the bundle again",
            refusal {
                Tokenizer.load(none)
            },
        )
        assertTrue(refusal { Record.read(none) }.startsWith("no record at $none: not a file"))
        assertTrue(refusal { Tags.read(none) }.startsWith("cannot read $none: No such file or directory; name a WAV"))
        assertTrue("is not a bundle: it has no manifest.json" in refusal { Manifest.load(folder) })
        File(folder, "manifest.json").writeBytes(byteArrayOf(-1, -2, 0))
        assertTrue("it is not UTF-8" in refusal { Manifest.load(folder) })
    }

    @Test
    fun `any damage is read or refused in one line`() {
        val dice = Random(1)
        val kinds = listOf<Triple<String, ByteArray, (ByteArray) -> Any>>(
            Triple("manifest", document("broken/manifests").text("good").toByteArray()) {
                Manifest.parse(textOf(it) ?: throw BundleException("no text"))
            },
            Triple("tokenizer", document("broken/tokenizers").text("good").toByteArray()) {
                File(folder, "damaged").writeBytes(it)
                Tokenizer.load(File(folder, "damaged")).encode("aabb b<x> é の\uD800 bbbb abab")
            },
            Triple("record", document("broken/records").text("good").toByteArray()) {
                Record.parse(textOf(it) ?: throw BundleException("no text"))
            },
            Triple("golden", File(TINY_BUNDLE, "golden.safetensors").readBytes().copyOf(3000)) {
                File(folder, "damaged").writeBytes(it)
                Safetensors.read(File(folder, "damaged"))
            },
        )
        for ((name, good, read) in kinds) {
            var refused = 0
            repeat(400) {
                val data = good.copyOf(if (dice.nextInt(4) == 0) dice.nextInt(good.size) else good.size)
                repeat(dice.nextInt(1, 5)) {
                    if (data.isNotEmpty()) {
                        data[dice.nextInt(data.size)] =
                            dice.nextInt().toByte()
                    }
                }
                try {
                    read(data)
                } catch (error: EdgeExportException) {
                    refused++
                    assertTrue(error.message.none { it < ' ' }, name)
                }
            }
            assertTrue(refused > 50, name)
        }
    }

    private fun load(text: String): Tokenizer = Tokenizer.load(File(folder, "tokenizer.json").apply { writeText(text) })

    private fun refusal(action: () -> Unit): String = assertThrows<EdgeExportException> { action() }.message
}
