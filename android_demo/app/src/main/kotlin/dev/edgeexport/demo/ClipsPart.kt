package dev.edgeexport.demo

import android.text.format.DateUtils
import android.view.View
import android.view.ViewGroup
import android.widget.TextView

/** The list of the last clips. */
internal class ClipsPart(root: View, private val model: MainModel, private val taps: Taps) : Part {
    private val context = root.context
    private val text = root.findViewById<TextView>(R.id.clips_text)
    private val list = root.findViewById<ViewGroup>(R.id.clips)
    private var shown: List<SavedClip>? = null
    private var plays = emptyList<View>()

    override fun render(state: MainState) {
        if (state.clips != shown) {
            shown = state.clips
            list.removeAllViews()
            plays = state.clips.map(::add)
            text.show(context.resources.getQuantityString(R.plurals.clips_kept, Clips.MOST, Clips.MOST))
        }
        plays.forEach { it.isEnabled = state.work !is Work.Generating }
    }

    /** Its button to play it. */
    private fun add(clip: SavedClip): View {
        val row = list.inflate(R.layout.clip)
        val prompt = clip.request.prompt
        row.findViewById<TextView>(R.id.clip_prompt).text = prompt
        row.findViewById<TextView>(R.id.clip_text).text = context.getString(
            R.string.clip_about,
            DateUtils.formatDateTime(context, clip.made, DateUtils.FORMAT_SHOW_DATE or DateUtils.FORMAT_SHOW_TIME),
            clip.request.seconds,
            clip.request.seed.toString(),
        )
        fun button(id: Int, label: Int, action: () -> Unit): View = row.findViewById<View>(id).apply {
            contentDescription = context.getString(label, prompt.take(LABEL_CHARACTERS))
            setOnClickListener { action() }
        }
        button(R.id.clip_again, R.string.again_clip) { model.again(clip) }
        button(R.id.clip_share, R.string.share_clip) { taps.share(clip) }
        button(R.id.clip_delete, R.string.delete_clip) { taps.delete(clip) }
        list.addView(row)
        return button(R.id.clip_play, R.string.play_clip) { model.clips.play(clip) }
    }

    private companion object {
        const val LABEL_CHARACTERS = 60
    }
}
