package dev.edgeexport.sdk

import android.app.ActivityManager
import android.content.Context
import android.os.Build
import dev.edgeexport.core.Bundle
import dev.edgeexport.core.DeviceException
import dev.edgeexport.core.Estimate
import dev.edgeexport.core.Machine

private const val ARM = "arm64-v8a"
private const val X86 = "x86_64"

/** Without these, ExecuTorch's library dies with an illegal instruction: Armv8.0's first cores. */
private const val ATOMICS = "atomics"

/** Refuse in words a device that cannot play [bundle], rather than dying in native code. */
internal fun requireDevice(
    bundle: Bundle,
    abis: List<String> = Build.SUPPORTED_ABIS.toList(),
    machine: Machine = Machine.current(),
) {
    val target = bundle.manifest.target
    if (ARM !in abis && X86 !in abis) {
        throw DeviceException("this device runs programs of 32 bits alone (${abis.joinToString()}); take another one")
    }
    if (ARM !in abis) return // the names of features are Arm's
    val missing = (target.cpuFeatures + ATOMICS).filter { it !in machine.cpuFeatures }
    if (missing.isNotEmpty()) {
        throw DeviceException(
            "the CPU of this device lacks ${missing.joinToString()}, which ${target.name} needs; take another device",
        )
    }
}

/** How much memory the system has to give. */
internal class DeviceMemory(private val context: Context) {
    /** Whether the system is short of memory. */
    val isLow: Boolean get() = now().lowMemory

    /** Whether the system has room for [needed] without becoming short of memory. */
    fun hasRoomFor(needed: Estimate): Boolean = now().run { !lowMemory && availMem - threshold > needed.totalBytes }

    private fun now(): ActivityManager.MemoryInfo {
        val manager = context.getSystemService(Context.ACTIVITY_SERVICE) as ActivityManager
        return ActivityManager.MemoryInfo().also(manager::getMemoryInfo)
    }
}
