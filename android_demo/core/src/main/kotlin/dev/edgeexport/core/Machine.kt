package dev.edgeexport.core

import java.io.File
import java.io.IOException

private const val KIBI = 1024L
private const val MEGA = 1e6

/**
 * What the kernel says of a core, the better first, and the share of the best core's figure from which on one is fast.
 *
 * Work is split evenly, so that a core of a third of the speed is waited for, and one of half still helps. By capacity
 * (work in a time, the best 1024) phones' small cores have 0.13 to 0.44, the middle ones 0.48 and more. By their clocks
 * they lie nearer: small ones 0.6 to 0.77, middle ones 0.8 and more, as do a desktop's cores of one kind.
 */
private val FAST_SHARES = listOf("cpu_capacity" to 0.45, "cpufreq/cpuinfo_max_freq" to 0.8)
private const val MOST_CORES = 1 shl 16
private const val CPUS = "sys/devices/system/cpu"

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

        /** As many threads as pay: the cores this process may run on, of which a phone's small ones do not count. */
        public fun fastCores(): Int = File("/").let { fastCores(it, allowedCores(it)) }

        /** The same of the system whose files lie in [root]. A figure counts where every core of [allowed] has it. */
        internal fun fastCores(root: File, allowed: Collection<Int>): Int {
            for ((name, share) in FAST_SHARES) {
                val figures = allowed.map { digitsIn(textOf("$root/$CPUS/cpu$it/$name")) ?: 0 }
                val best = figures.maxOrNull() ?: 0
                if (figures.all { it > 0 }) return figures.count { it >= share * best }
            }
            return allowed.size
        }

        /** The cores that run and that this process may use, by the system's files in [root]; else as Java counts. */
        internal fun allowedCores(root: File): Collection<Int> {
            val mine = textOf("$root/proc/self/status").lineSequence().find { it.startsWith("Cpus_allowed_list:") }
            val allowed = listed(mine?.substringAfter(':').orEmpty()).intersect(listed(textOf("$root/$CPUS/online")))
            return allowed.ifEmpty { (0 until Runtime.getRuntime().availableProcessors()).toSet() }
        }

        /** Numbers as the kernel lists them, such as "0-3,6"; none where it is no such list. */
        private fun listed(text: String): Set<Int> {
            val ranges = text.trim().split(',').map { part -> part.split('-').map { it.toIntOrNull() ?: -1 } }
            if (ranges.flatten().any { it !in 0 until MOST_CORES }) return emptySet()
            return ranges.flatMap { it.first()..it.last() }.toSet()
        }

        private fun digitsIn(text: String): Long? = text.trim().takeIf { it.all(Char::isDigit) }?.toLongOrNull()

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
