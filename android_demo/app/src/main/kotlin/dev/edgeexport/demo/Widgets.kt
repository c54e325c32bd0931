package dev.edgeexport.demo

import android.text.Editable
import android.text.TextWatcher
import android.view.View
import android.widget.EditText
import android.widget.SeekBar
import android.widget.TextView

// What the framework's widgets lack to be used in one line. Nothing is known of the app here.

/** Calls [action] with the text after each change. */
internal fun EditText.onText(action: (String) -> Unit) = addTextChangedListener(
    object : TextWatcher {
        override fun beforeTextChanged(text: CharSequence?, start: Int, count: Int, after: Int) = Unit

        override fun onTextChanged(text: CharSequence?, start: Int, before: Int, count: Int) = Unit

        override fun afterTextChanged(text: Editable?) = action(text.toString())
    },
)

/** Calls [action] with the place to which the user moves it. */
internal fun SeekBar.onMove(action: (Int) -> Unit) = setOnSeekBarChangeListener(
    object : SeekBar.OnSeekBarChangeListener {
        override fun onProgressChanged(bar: SeekBar?, progress: Int, fromUser: Boolean) {
            if (fromUser) action(progress)
        }

        override fun onStartTrackingTouch(bar: SeekBar?) = Unit

        override fun onStopTrackingTouch(bar: SeekBar?) = Unit
    },
)

/** Shows [value] where it is another than what stands there: a screen reader need not hear it again. */
internal fun TextView.show(value: CharSequence) {
    if (text.toString() != value.toString()) text = value
}

internal var View.isThere: Boolean
    get() = visibility == View.VISIBLE
    set(value) {
        visibility = if (value) View.VISIBLE else View.GONE
    }
