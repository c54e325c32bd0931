package dev.edgeexport.core

import java.io.File
import java.io.IOException

private const val KIBI = 1024L
private const val MEGA = 1e6

/**
 * The machine this runs on. It judges nothing, and knows nothing of models. Where a system does not say, a number is 0
 * and a text empty.
 *
 * @property cpuFeatures those that all cores have, as the kernel names them.
 * @property memoryBytes physical memory.
 */
public data class Machine(
    val system: String,
    val architecture: String,
    val cpu: String,
    val cpuFeatures: List<String>,
    val cores: Int,
    val memoryBytes: Long,
) {
    public companion object {
        /** What this process can say of where it runs. */
        public fun current(): Machine {
            val cpuinfo = textOf("/proc/cpuinfo")
            return Machine(
                system = "${System.getProperty("os.name")} ${System.getProperty("os.version")}",
                architecture = System.getProperty("os.arch").orEmpty(),
                cpu = cpuName(cpuinfo),
                cpuFeatures = featuresOfAll(cpuinfo),
                cores = Runtime.getRuntime().availableProcessors(),
                memoryBytes = meminfo("MemTotal") ?: 0,
            )
        }

        /** Bytes that this process may still take, as the kernel says; null where it does not. */
        public fun memoryAvailable(): Long? = meminfo("MemAvailable")

        /** The most memory of this process, in MB of 10^6 bytes, since [forgetPeakMemory] or else since it started. */
        internal fun peakMemoryMb(): Double = kilobytes(textOf("/proc/self/status"), "VmHWM")?.let { it / MEGA } ?: 0.0

        /** Let [peakMemoryMb] begin anew with what is held now, where the system can. */
        internal fun forgetPeakMemory() {
            try {
                File("/proc/self/clear_refs").writeText("5")
            } catch (_: IOException) {
                // Then a peak is that of all stages before, too.
            }
        }

        /** What the text of /proc/cpuinfo calls the first core. */
        internal fun cpuName(cpuinfo: String): String {
            val first = coresIn(cpuinfo).first()
            return listOf("model name", "Hardware", "CPU part").firstNotNullOfOrNull { first[it]?.ifEmpty { null } }
                ?: ""
        }

        /** The features that every core has by the text of /proc/cpuinfo, in the order of the first one. */
        internal fun featuresOfAll(cpuinfo: String): List<String> {
            val texts = coresIn(cpuinfo).mapNotNull { it["Features"] ?: it["flags"] }
            val lists = texts.map { it.split(' ', '\t').filter(String::isNotEmpty) }
            return lists.firstOrNull()?.distinct()?.filter { feature -> lists.all { feature in it } }.orEmpty()
        }

        /** Each core's keys and values: blocks that begin with "processor", and what stands outside of them. */
        private fun coresIn(cpuinfo: String): List<Map<String, String>> {
            val cores = arrayListOf(LinkedHashMap<String, String>())
            for (line in cpuinfo.lineSequence()) {
                val key = line.substringBefore(':').trim()
                if (key == "processor" && key in cores.last()) cores += LinkedHashMap<String, String>()
                if (key !in cores.last()) cores.last()[key] = line.substringAfter(':', "").trim()
            }
            return cores
        }

        private fun meminfo(name: String): Long? = kilobytes(textOf("/proc/meminfo"), name)

        private fun kilobytes(text: String, name: String): Long? = text.lineSequence().find { it.startsWith("$name:") }
            ?.substringAfter(':')?.trim()?.substringBefore(' ')?.toLongOrNull()?.times(KIBI)

        private fun textOf(path: String): String = try {
            File(path).readText()
        } catch (_: IOException) {
            ""
        }
    }
}
