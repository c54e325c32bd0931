package dev.edgeexport.demo

import android.app.Activity
import android.app.AlertDialog
import android.content.ActivityNotFoundException
import android.content.Intent
import android.os.Bundle
import android.view.View
import android.widget.Toast
import kotlinx.coroutines.CoroutineScope
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.Job
import kotlinx.coroutines.SupervisorJob
import kotlinx.coroutines.cancel
import kotlinx.coroutines.launch
import kotlinx.coroutines.withContext
import java.io.File
import java.io.IOException

private const val IMPORT = 1
private const val SAVE = 2
private const val SAVING = "saving"

/** What providers of files call a zip. */
private val ZIP_TYPES = arrayOf("application/zip", "application/x-zip-compressed", "application/octet-stream")
private const val MOST_NOTICE_CHARACTERS = 100_000

/** The one screen: shows the model's state while it is seen, and asks the system for what only that has. */
internal class MainActivity :
    Activity(),
    Taps {
    private val model get() = (application as DemoApplication).model
    private val scope = CoroutineScope(SupervisorJob() + MainThread)
    private lateinit var screen: MainScreen
    private var showing: Job? = null
    private var dialog: AlertDialog? = null

    /** The WAV that waits for the user to choose a place. */
    private var saving: String? = null

    override fun onCreate(savedInstanceState: Bundle?) {
        super.onCreate(savedInstanceState)
        setContentView(R.layout.main)
        screen = MainScreen(findViewById<View>(android.R.id.content), model, this)
        saving = savedInstanceState?.getString(SAVING)
        model.start()
    }

    override fun onStart() {
        super.onStart()
        showing = scope.launch { model.state.collect { show(it) } }
    }

    override fun onStop() {
        super.onStop()
        showing?.cancel()
        if (!isChangingConfigurations) model.putAway()
    }

    override fun onSaveInstanceState(outState: Bundle) {
        super.onSaveInstanceState(outState)
        outState.putString(SAVING, saving)
    }

    override fun onDestroy() {
        super.onDestroy()
        dialog?.dismiss()
        scope.cancel()
    }

    override fun onActivityResult(requestCode: Int, resultCode: Int, data: Intent?) {
        super.onActivityResult(requestCode, resultCode, data)
        val place = data?.data.takeIf { resultCode == RESULT_OK } ?: return model.say(Message.NOTHING_CHOSEN)
        when (requestCode) {
            IMPORT -> model.bundles.importZip(place)
            SAVE -> saving?.let { model.clips.saveTo(it, place) }
        }
    }

    override fun save(clip: SavedClip) {
        if (model.clips.canSave) return model.clips.save(clip)
        saving = clip.wav.name
        ask(model.clips.askWhere(clip), SAVE)
    }

    override fun share(clip: SavedClip) {
        scope.launch { model.clips.share(clip)?.let(::hand) }
    }

    override fun shareRecord(clip: SavedClip) = confirm(R.string.share_record_question, R.string.share) {
        scope.launch { model.clips.shareRecord(clip)?.let(::hand) }
    }

    override fun delete(clip: SavedClip) =
        confirm(R.string.delete_clip_question, R.string.delete) { model.clips.delete(clip) }

    override fun delete(bundle: BundleCard) =
        confirm(R.string.delete_bundle_question, R.string.delete) { model.bundles.delete(bundle.folder) }

    override fun showLicence(bundle: BundleCard) {
        scope.launch {
            val texts = withContext(Dispatchers.IO) { bundle.notices.map(::textOf) }
            show(
                AlertDialog.Builder(this@MainActivity)
                    .setTitle(R.string.licence)
                    .setMessage((listOf(bundle.license) + texts).joinToString("\n\n"))
                    .setPositiveButton(R.string.close, null),
            )
        }
    }

    override fun chooseBundle(installed: List<BundleChoice>) {
        val names = installed.map {
            val name = it.name ?: getString(R.string.bundle_damaged)
            if (it.isBuiltIn) getString(R.string.bundle_built_in, name) else name
        }
        show(
            AlertDialog.Builder(this)
                .setTitle(R.string.choose_bundle)
                .setItems(names.toTypedArray()) { _, which -> model.bundles.choose(installed[which].folder) }
                .setNegativeButton(R.string.cancel, null),
        )
    }

    override fun importBundle() {
        val document = Intent(Intent.ACTION_OPEN_DOCUMENT)
            .addCategory(Intent.CATEGORY_OPENABLE)
            .setType("*/*")
            .putExtra(Intent.EXTRA_MIME_TYPES, ZIP_TYPES)
        ask(document, IMPORT)
    }

    private fun show(state: MainState) {
        screen.render(state)
        state.message?.let {
            Toast.makeText(this, it.text, Toast.LENGTH_LONG).show()
            model.messageShown()
        }
    }

    private fun confirm(question: Int, answer: Int, action: () -> Unit) = show(
        AlertDialog.Builder(this)
            .setMessage(question)
            .setPositiveButton(answer) { _, _ -> action() }
            .setNegativeButton(R.string.cancel, null),
    )

    private fun show(made: AlertDialog.Builder) {
        dialog?.dismiss()
        dialog = made.show()
    }

    private fun hand(intent: Intent) = finding { startActivity(intent) }

    private fun ask(intent: Intent, code: Int) = finding { startActivityForResult(intent, code) }

    private fun finding(action: () -> Unit) = try {
        action()
    } catch (error: ActivityNotFoundException) {
        model.report(Problem(ProblemKind.SHARING, error.message.orEmpty()))
    }

    private fun textOf(file: File): String = try {
        file.readText().take(MOST_NOTICE_CHARACTERS)
    } catch (error: IOException) {
        error.message.orEmpty()
    }
}
