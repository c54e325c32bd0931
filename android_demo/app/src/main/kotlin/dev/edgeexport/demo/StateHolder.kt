package dev.edgeexport.demo

import dev.edgeexport.core.EdgeExportException
import kotlinx.coroutines.CoroutineScope
import kotlinx.coroutines.Job
import kotlinx.coroutines.flow.MutableStateFlow
import kotlinx.coroutines.flow.StateFlow
import kotlinx.coroutines.flow.asStateFlow
import kotlinx.coroutines.flow.update
import kotlinx.coroutines.launch

/**
 * The state of the screen, and the one thing that is going on. It does not know what that is.
 *
 * @param scope of the main thread, where all of this is called.
 */
internal class StateHolder(private val scope: CoroutineScope) {
    private val mutableState = MutableStateFlow(MainState())
    private var job: Job? = null

    val state: StateFlow<MainState> = mutableState.asStateFlow()
    val now: MainState get() = state.value

    fun update(change: MainState.() -> MainState) = mutableState.update(change)

    /** Show [problem] above all others; one of each kind is enough. */
    fun report(problem: Problem) = update {
        copy(problems = listOf(problem) + problems.filter { it.kind != problem.kind })
    }

    fun report(error: EdgeExportException) = report(problemOf(error))

    /** Do [action] as [work]; what it throws becomes a problem. If something else is going on, that is the problem. */
    fun begin(work: Work, action: suspend () -> Unit) {
        if (now.work != Work.Idle) return report(Problem(ProblemKind.BUSY))
        update { copy(work = work) }
        job = scope.launch {
            try {
                action()
            } catch (error: EdgeExportException) {
                report(error)
            } finally {
                update { copy(work = Work.Idle) }
            }
        }
    }

    /** Do [action] beside what is going on; what it throws becomes a problem. */
    fun aside(action: suspend () -> Unit) {
        scope.launch {
            try {
                action()
            } catch (error: EdgeExportException) {
                report(error)
            }
        }
    }

    /** End what is going on, where that can be ended. */
    fun cancel() {
        val work = now.work
        if (work is Work.Generating || work is Work.Importing || work == Work.Proving) {
            update { copy(work = Work.Stopping) }
            job?.cancel()
        }
    }
}
