package dev.edgeexport.demo

import android.content.res.Resources
import android.text.format.Formatter
import android.view.LayoutInflater
import android.view.View
import android.view.ViewGroup
import android.widget.Button
import android.widget.CheckBox
import android.widget.EditText
import android.widget.ProgressBar
import android.widget.SeekBar
import android.widget.TextView
import dev.edgeexport.core.Check
import java.util.Locale
import kotlin.math.ceil

/** Taps that need the system: its pickers, its sheets, its dialogs. */
internal interface Taps {
    fun save(clip: SavedClip)

    fun share(clip: SavedClip)

    fun shareRecord(clip: SavedClip)

    fun delete(clip: SavedClip)

    fun showLicence(bundle: BundleCard)

    fun chooseBundle(installed: List<BundleChoice>)

    fun importBundle()

    fun delete(bundle: BundleCard)
}

/** Shows a [MainState] in the views of `layout/main`, and hands on what is tapped. It decides nothing. */
internal class MainScreen(root: View, model: MainModel, taps: Taps) {
    private val parts = listOf(
        ProblemsPart(root, model, taps),
        InterruptedPart(root, model),
        RequestPart(root, model),
        ProgressPart(root, model),
        SoundPart(root, model, taps),
        ClipsPart(root, model, taps),
        BundlePart(root, taps),
        ProofPart(root, model, taps),
    )

    fun render(state: MainState) = parts.forEach { it.render(state) }
}

/** A card of the screen. */
internal interface Part {
    fun render(state: MainState)
}

private class ProblemsPart(root: View, private val model: MainModel, private val taps: Taps) : Part {
    private val list = root.findViewById<ViewGroup>(R.id.problems)
    private var shown = emptyList<Problem>()

    override fun render(state: MainState) {
        if (state.problems == shown) return
        shown = state.problems
        list.removeAllViews()
        shown.forEach(::add)
    }

    private fun add(problem: Problem) {
        val card = list.inflate(R.layout.problem)
        card.findViewById<TextView>(R.id.problem_title).setText(problem.kind.title)
        card.findViewById<TextView>(R.id.problem_advice).setText(problem.kind.advice)
        card.findViewById<TextView>(R.id.problem_detail).apply {
            text = problem.detail
            isThere = problem.detail.isNotEmpty()
        }
        card.findViewById<View>(R.id.problem_dismiss).setOnClickListener { model.dismiss(problem) }
        card.findViewById<Button>(R.id.problem_remedy).apply {
            val remedy = problem.kind.remedy
            isThere = remedy != null
            remedy?.let { setText(it.label) }
            setOnClickListener { if (remedy == Remedy.IMPORT) taps.importBundle() else model.clips.keepAgain() }
        }
        list.addView(card)
    }
}

private class InterruptedPart(root: View, model: MainModel) : Part {
    private val card = root.findViewById<View>(R.id.interrupted)
    private val prompt = root.findViewById<TextView>(R.id.interrupted_prompt)
    private val goOn = root.findViewById<View>(R.id.go_on)

    init {
        goOn.setOnClickListener { model.goOn() }
        root.findViewById<View>(R.id.forget).setOnClickListener { model.forgetInterrupted() }
    }

    override fun render(state: MainState) {
        card.isThere = state.interrupted != null
        prompt.show(state.interrupted?.prompt.orEmpty())
        goOn.isEnabled = state.canGenerate
    }
}

private class RequestPart(root: View, private val model: MainModel) : Part {
    private val resources: Resources = root.resources
    private val prompt = root.findViewById<EditText>(R.id.prompt)
    private val dropped = root.findViewById<TextView>(R.id.dropped)
    private val secondsLabel = root.findViewById<TextView>(R.id.seconds_label)
    private val seconds = root.findViewById<SeekBar>(R.id.seconds)
    private val stepsLabel = root.findViewById<TextView>(R.id.steps_label)
    private val steps = root.findViewById<SeekBar>(R.id.steps)
    private val seed = root.findViewById<EditText>(R.id.seed)
    private val lock = root.findViewById<CheckBox>(R.id.lock)
    private val generate = root.findViewById<Button>(R.id.generate)
    private val expected = root.findViewById<TextView>(R.id.expected)
    private var shownSeed: Long? = null

    init {
        prompt.onText { text -> if (text != model.state.value.draft.prompt) model.edit { copy(prompt = text) } }
        seconds.onMove { place -> model.edit { copy(seconds = (place + 1) / TENTHS) } }
        seconds.keyProgressIncrement = TENTHS.toInt()
        steps.onMove { place -> model.edit { copy(steps = place + 1) } }
        seed.onText(::typed)
        root.findViewById<View>(R.id.roll).setOnClickListener { model.roll() }
        lock.setOnClickListener { model.edit { copy(seedLocked = lock.isChecked) } }
        generate.setOnClickListener { model.generate() }
        val suggestions = root.findViewById<ViewGroup>(R.id.suggestions)
        for (suggestion in resources.getStringArray(R.array.suggestions)) {
            val chip = suggestions.inflate(R.layout.suggestion) as Button
            chip.text = suggestion
            chip.setOnClickListener { model.edit { copy(prompt = suggestion) } }
            suggestions.addView(chip)
        }
    }

    /** Whoever types a seed wants that one. */
    private fun typed(text: String) {
        val number = text.toLongOrNull() ?: return
        if (number == shownSeed) return
        shownSeed = number
        model.edit { copy(seed = number, seedLocked = true) }
    }

    override fun render(state: MainState) {
        val draft = state.draft
        if (prompt.text.toString() != draft.prompt) {
            prompt.setText(draft.prompt)
            prompt.setSelection(prompt.length())
        }
        dropped.isThere = state.dropped > 0
        dropped.show(resources.getQuantityString(R.plurals.dropped, state.dropped, state.dropped))
        renderSliders(draft, state.bundle)
        if (draft.seed != shownSeed) {
            shownSeed = draft.seed
            seed.setText(String.format(Locale.ROOT, "%d", draft.seed))
        }
        lock.isChecked = draft.seedLocked
        generate.isEnabled = state.canGenerate
        expected.show(
            state.secondsExpected?.let { resources.getString(R.string.expected, ceil(it)) }
                ?: resources.getString(R.string.expected_unknown),
        )
    }

    private fun renderSliders(draft: Draft, bundle: BundleCard?) {
        val length = resources.getString(R.string.seconds_value, draft.seconds)
        secondsLabel.show(length)
        seconds.max = bundle?.let { (it.secondsLimit * TENTHS).toInt() - 1 } ?: tenthsOf(draft.seconds)
        seconds.progress = tenthsOf(draft.seconds) - 1
        seconds.contentDescription = length
        val count = resources.getQuantityString(R.plurals.steps_value, draft.steps, draft.steps)
        stepsLabel.show(count)
        steps.max = maxOf(MOST_STEPS, 2 * (bundle?.defaultSteps ?: 0), draft.steps) - 1
        steps.progress = draft.steps - 1
        steps.contentDescription = count
    }

    private companion object {
        const val MOST_STEPS = 16
    }
}

private class ProgressPart(root: View, model: MainModel) : Part {
    private val resources: Resources = root.resources
    private val card = root.findViewById<View>(R.id.progress)
    private val work = root.findViewById<TextView>(R.id.work)
    private val bar = root.findViewById<ProgressBar>(R.id.bar)
    private val step = root.findViewById<TextView>(R.id.step)
    private val cancel = root.findViewById<View>(R.id.cancel)

    init {
        cancel.setOnClickListener { model.cancel() }
    }

    override fun render(state: MainState) {
        val now = state.work
        card.isThere = now != Work.Idle
        if (now == Work.Idle) return
        work.show(resources.getString(titleOf(now)))
        cancel.isThere = now is Work.Generating || now is Work.Importing || now == Work.Proving
        val last = (now as? Work.Generating)?.step
        bar.isIndeterminate = last == null
        last?.let {
            bar.max = it.count
            bar.progress = it.index
        }
        step.show(detailOf(now))
    }

    /** What is done now: after the last step of a stage that is the next stage. */
    private fun titleOf(work: Work): Int = when (work) {
        is Work.Opening -> R.string.work_opening
        is Work.Importing -> R.string.work_importing
        is Work.Generating -> stageOf(work)
        Work.Keeping -> R.string.work_keeping
        Work.Proving -> R.string.work_proving
        Work.Stopping, Work.Idle -> R.string.work_stopping
    }

    private fun stageOf(work: Work.Generating): Int {
        val step = work.step ?: return R.string.work_loading
        val isOver = step.index == step.count
        return when {
            step.stage == "conditioner" -> R.string.work_dit
            step.stage == "dit" && !isOver -> R.string.work_dit
            else -> R.string.work_decoder
        }
    }

    private fun detailOf(work: Work): String = when (work) {
        is Work.Opening -> sizeOf(work.bytes)
        is Work.Importing -> sizeOf(work.bytes)
        is Work.Generating -> detailOf(work)
        else -> ""
    }

    private fun detailOf(work: Work.Generating): String {
        val step = work.step ?: return ""
        val left = step.secondsLeft ?: return resources.getString(R.string.step_of, step.index, step.count)
        val seconds = ceil(left).toInt()
        return resources.getQuantityString(R.plurals.step_left, seconds, seconds, step.index, step.count)
    }

    private fun sizeOf(bytes: Long): String =
        if (bytes == 0L) "" else Formatter.formatShortFileSize(card.context, bytes)
}

private class SoundPart(root: View, private val model: MainModel, taps: Taps) : Part {
    private val resources: Resources = root.resources
    private val card = root.findViewById<View>(R.id.sound)
    private val waveform = root.findViewById<WaveformView>(R.id.waveform)
    private val spectrogram = root.findViewById<SpectrogramView>(R.id.spectrogram)
    private val text = root.findViewById<TextView>(R.id.sound_text)
    private val play = root.findViewById<Button>(R.id.play)
    private val save = root.findViewById<View>(R.id.save)
    private val share = root.findViewById<View>(R.id.share)
    private val now get() = model.state.value

    init {
        play.setOnClickListener {
            if (now.playedFrame != null) model.clips.stop() else now.shown?.let(model.clips::play)
        }
        save.setOnClickListener { now.shown?.let(taps::save) }
        share.setOnClickListener { now.shown?.let(taps::share) }
    }

    override fun render(state: MainState) {
        val picture = state.picture
        card.isThere = picture != null
        if (picture == null) return
        for (view in listOf(waveform, spectrogram)) {
            view.picture = picture
            view.playedFrame = state.playedFrame
        }
        waveform.contentDescription = resources.getString(R.string.waveform, picture.seconds)
        spectrogram.contentDescription = resources.getString(R.string.spectrogram, picture.seconds)
        text.show(state.shown?.request?.prompt ?: resources.getString(R.string.sound_length, picture.seconds))
        play.show(resources.getString(if (state.playedFrame == null) R.string.play else R.string.stop))
        play.isEnabled = state.playedFrame != null || state.shown != null
        save.isEnabled = state.shown != null
        share.isEnabled = state.shown != null
    }
}

private class BundlePart(root: View, taps: Taps) : Part {
    private val context = root.context
    private val text = root.findViewById<TextView>(R.id.bundle_text)
    private val licence = root.findViewById<View>(R.id.licence)
    private val choose = root.findViewById<View>(R.id.choose_bundle)
    private val importButton = root.findViewById<View>(R.id.import_bundle)
    private val delete = root.findViewById<View>(R.id.delete_bundle)
    private var shown = MainState()

    init {
        licence.setOnClickListener { shown.bundle?.let(taps::showLicence) }
        choose.setOnClickListener { taps.chooseBundle(shown.installed) }
        importButton.setOnClickListener { taps.importBundle() }
        delete.setOnClickListener { shown.bundle?.let { taps.delete(it) } }
        delete.contentDescription = context.getString(R.string.delete_bundle_label)
    }

    override fun render(state: MainState) {
        shown = state
        val isIdle = state.work == Work.Idle
        text.show(state.bundle?.let(::about) ?: context.getString(R.string.bundle_none))
        licence.isEnabled = state.bundle != null
        choose.isEnabled = isIdle && state.installed.size > 1
        importButton.isEnabled = isIdle
        delete.isThere = state.bundle?.isBuiltIn == false
        delete.isEnabled = isIdle
    }

    private fun about(bundle: BundleCard): String {
        fun size(bytes: Long) = Formatter.formatShortFileSize(context, bytes)
        return context.getString(
            R.string.bundle_about,
            bundle.model,
            bundle.recipe,
            bundle.target,
            bundle.backend,
            size(bundle.bytes),
            size(bundle.memoryBytes),
            bundle.threads,
            bundle.secondsLimit,
        )
    }
}

private class ProofPart(root: View, model: MainModel, taps: Taps) : Part {
    private val resources: Resources = root.resources
    private val text = root.findViewById<TextView>(R.id.proof_text)
    private val list = root.findViewById<ViewGroup>(R.id.checks)
    private val prove = root.findViewById<View>(R.id.prove)
    private val share = root.findViewById<View>(R.id.share_record)
    private var shown = emptyList<Check>()

    init {
        prove.setOnClickListener { model.prove() }
        share.setOnClickListener { model.state.value.recordOf?.let(taps::shareRecord) }
    }

    override fun render(state: MainState) {
        prove.isEnabled = state.canGenerate && state.bundle?.hasGolden == true
        share.isEnabled = state.recordOf != null
        val checks = state.checks.orEmpty()
        text.show(
            when {
                state.bundle?.hasGolden == false -> resources.getString(R.string.proof_none)
                checks.isEmpty() || state.work == Work.Proving -> resources.getString(R.string.proof_about)
                else -> result(checks)
            },
        )
        if (checks == shown) return
        shown = checks
        list.removeAllViews()
        checks.forEach(::add)
    }

    private fun result(checks: List<Check>): String =
        resources.getQuantityString(R.plurals.proof_result, checks.size, checks.size, checks.count { it.passed })

    private fun add(check: Check) {
        val row = list.inflate(R.layout.check)
        val tensor = resources.getString(R.string.check_tensor, check.stage, check.tensor)
        val snr = check.thresholdDb.let { needed ->
            if (needed == null) {
                resources.getString(R.string.check_snr, decibels(check.snrDb))
            } else {
                resources.getString(R.string.check_snr_needed, decibels(check.snrDb), decibels(needed))
            }
        }
        val ok = resources.getString(if (check.passed) R.string.check_passed else R.string.check_failed)
        row.findViewById<TextView>(R.id.check_tensor).text = tensor
        row.findViewById<TextView>(R.id.check_snr).text = snr
        row.findViewById<TextView>(R.id.check_ok).apply {
            text = ok
            if (!check.passed) setTextColor(context.getColor(R.color.problem))
        }
        row.contentDescription = "$tensor, $snr, $ok"
        list.addView(row)
    }

    private fun decibels(number: Double): String =
        if (number == Double.POSITIVE_INFINITY) resources.getString(R.string.check_exact) else "%.1f".format(number)
}

/** The clip whose record is shared: the one on the screen, or else the last. */
internal val MainState.recordOf: SavedClip? get() = shown ?: clips.firstOrNull()

internal val MainState.canGenerate: Boolean get() = work == Work.Idle && bundle != null

/** A view of [layout] that is to be added here. */
internal fun ViewGroup.inflate(layout: Int): View = LayoutInflater.from(context).inflate(layout, this, false)
