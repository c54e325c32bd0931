package dev.edgeexport.demo

import dev.edgeexport.core.BundleException
import dev.edgeexport.core.BundleVersionException
import dev.edgeexport.core.DeviceException
import dev.edgeexport.core.EdgeExportException
import dev.edgeexport.core.GenerationException
import dev.edgeexport.core.MissingDependencyException
import dev.edgeexport.core.OutputException
import dev.edgeexport.core.RecordException
import dev.edgeexport.core.UsageException

/** What can go wrong, each with what happened and what to do in words of this app. */
internal enum class ProblemKind(val title: Int, val advice: Int, val remedy: Remedy? = null) {
    REQUEST(R.string.problem_request, R.string.problem_request_advice),
    BUSY(R.string.problem_busy, R.string.problem_busy_advice),
    OUTDATED(R.string.problem_outdated, R.string.problem_outdated_advice, Remedy.IMPORT),
    BUNDLE(R.string.problem_bundle, R.string.problem_bundle_advice, Remedy.IMPORT),
    SPACE(R.string.problem_space, R.string.problem_space_advice),
    UNSAVED(R.string.problem_unsaved, R.string.problem_unsaved_advice, Remedy.KEEP_AGAIN),
    ENGINE(R.string.problem_engine, R.string.problem_engine_advice),
    GENERATION(R.string.problem_generation, R.string.problem_generation_advice),
    DEVICE(R.string.problem_device, R.string.problem_device_advice),
    ENDED(R.string.problem_ended, R.string.problem_ended_advice),
    SHARING(R.string.problem_sharing, R.string.problem_sharing_advice),
    ;

    /** Generating once more says nothing about it. */
    val outlivesGeneration: Boolean get() = this == UNSAVED || this == BUNDLE || this == OUTDATED
}

/** What the app itself can do about a problem. */
internal enum class Remedy(val label: Int) {
    IMPORT(R.string.import_bundle),
    KEEP_AGAIN(R.string.keep_again),
}

/** A problem for the screen. [detail] is for whoever looks closer, in the words of the library or the system. */
internal data class Problem(val kind: ProblemKind, val detail: String = "")

/** By the class of the [error], as an app is to take them. */
internal fun problemOf(error: EdgeExportException): Problem {
    val kind = when (error) {
        is UsageException -> ProblemKind.REQUEST
        is BundleVersionException -> ProblemKind.OUTDATED
        is BundleException, is RecordException -> ProblemKind.BUNDLE
        is OutputException -> ProblemKind.SPACE
        is MissingDependencyException -> ProblemKind.ENGINE
        is GenerationException -> ProblemKind.GENERATION
        is DeviceException -> ProblemKind.DEVICE
    }
    return Problem(kind, error.message)
}
