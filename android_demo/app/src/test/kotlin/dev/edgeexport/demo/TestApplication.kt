package dev.edgeexport.demo

import android.app.ActivityManager
import android.content.Context
import android.os.Build
import android.os.Looper
import dev.edgeexport.sdk.EdgeAudioGenerator
import dev.edgeexport.sdk.GeneratorOptions
import dev.edgeexport.sdk.InstalledBundles
import kotlinx.coroutines.runBlocking
import org.junit.Assert.assertTrue
import org.robolectric.RuntimeEnvironment
import org.robolectric.Shadows.shadowOf
import org.robolectric.util.ReflectionHelpers
import java.io.File
import java.util.zip.ZipEntry
import java.util.zip.ZipOutputStream

/** The app with an engine of the tests' own, silent. */
internal class TestApplication : DemoApplication() {
    val engine = StandIn()

    /** What was sent to the loudspeaker: frames of each sound. */
    val heard = ArrayList<Int>()

    override val opener = GeneratorOpener { bundle, threads, label ->
        val options = GeneratorOptions(threads = threads ?: 1, engine = engine, force = true, label = label)
        EdgeAudioGenerator.open(this, bundle, options)
    }

    override val loudspeaker = Loudspeaker { pieces, onFrame ->
        var frames = 0
        for (piece in pieces) {
            frames += piece.samples
            onFrame(frames)
        }
        synchronized(heard) { heard += frames }
    }
}

internal val app: TestApplication get() = RuntimeEnvironment.getApplication() as TestApplication
internal val TINY_BUNDLE = File(checkNotNull(System.getProperty("edge.fixtures")), "bundles/fp32/bundle")

/** Says that this is a device of 64 bits, whose CPU's features have no Arm names, with so much memory to give. */
internal fun pretendDevice(freeBytes: Long = 4L shl 30) {
    ReflectionHelpers.setStaticField(Build::class.java, "SUPPORTED_ABIS", arrayOf("x86_64"))
    val memory = ActivityManager.MemoryInfo().apply {
        availMem = freeBytes
        threshold = 100L shl 20
    }
    shadowOf(app.getSystemService(Context.ACTIVITY_SERVICE) as ActivityManager).setMemoryInfo(memory)
}

/** Let the main thread work until [done]; what takes longer than a minute has failed. */
internal fun until(what: String, done: () -> Boolean) {
    val end = System.nanoTime() + 60_000_000_000
    while (!done() && System.nanoTime() < end) {
        shadowOf(Looper.getMainLooper()).idle()
        Thread.sleep(2)
    }
    assertTrue("waited for: $what", done())
}

/** The tiny bundle as the one that was chosen: there are no assets in tests. */
internal fun installTinyBundle() = runBlocking {
    Settings(app).bundle = InstalledBundles(app).fromFolder(TINY_BUNDLE).folder.name
}

/** A zip of the tiny bundle's files, each [changed] first; null leaves it out. */
internal fun zipOfBundle(to: File, changed: (String, ByteArray) -> ByteArray? = { _, data -> data }): File {
    ZipOutputStream(to.outputStream()).use { zip ->
        for (file in TINY_BUNDLE.listFiles().orEmpty().sortedBy { it.name != "manifest.json" }) {
            val data = changed(file.name, file.readBytes()) ?: continue
            zip.putNextEntry(ZipEntry(file.name))
            zip.write(data)
            zip.closeEntry()
        }
    }
    return to
}
