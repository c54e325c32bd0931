package dev.edgeexport.core

/**
 * The root of all that a runtime can raise; anything else that escapes is a defect of ours.
 *
 * A message is one line that says what is wrong, where, and what to do next: what a stranger's file puts into it can
 * neither break it nor steer a terminal. [exitCode] is what the command lines of edge-export end with.
 */
public sealed class EdgeExportException(message: String, cause: Throwable?, public val exitCode: Int) :
    Exception(cause) {
    final override val message: String = printable(message)
}

/** What was asked for makes no sense: seconds of -1, an empty prompt. */
public class UsageException(message: String, cause: Throwable? = null) : EdgeExportException(message, cause, 2)

/** A bundle is missing, altered, or unsafe to read. */
public open class BundleException(message: String, cause: Throwable? = null) : EdgeExportException(message, cause, 4)

/** A bundle is of [found], another version of the contract than the one read here: fetch or build it again. */
public class BundleVersionException(message: String, public val found: Long, cause: Throwable? = null) :
    BundleException(message, cause)

/** The result cannot be written: no permission, no space. */
public class OutputException(message: String, cause: Throwable? = null) : EdgeExportException(message, cause, 6)

/** What only this task needs is not here, such as an engine's library. */
public class MissingDependencyException(message: String, cause: Throwable? = null) :
    EdgeExportException(message, cause, 8)

/** A program failed while running, or returned numbers that are not sound (NaN, wrong shape). */
public class GenerationException(message: String, cause: Throwable? = null) : EdgeExportException(message, cause, 10)

/** This device lacks what the bundle's target needs. */
public class DeviceException(message: String, cause: Throwable? = null) : EdgeExportException(message, cause, 11)

/** A file is no record of a run, or one of another version or bundle. */
public class RecordException(message: String, cause: Throwable? = null) : EdgeExportException(message, cause, 12)

/** What is wrong with a document, in a few words; whoever reads one makes an [EdgeExportException] of it. */
internal class FormatException(override val message: String, cause: Throwable? = null) : Exception(cause)

/** What a library's exception says, in one line of bearable length. */
internal fun firstLine(error: Throwable): String =
    error.message?.trim()?.lineSequence()?.firstOrNull()?.take(MOST_CHARACTERS) ?: error.javaClass.simpleName

private const val MOST_CHARACTERS = 200
