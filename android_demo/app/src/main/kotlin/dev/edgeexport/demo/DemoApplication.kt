package dev.edgeexport.demo

import android.app.Application
import android.content.ComponentCallbacks2
import android.content.Context
import dev.edgeexport.sdk.AudioOutput
import dev.edgeexport.sdk.CrashNote
import dev.edgeexport.sdk.EdgeAudioGenerator
import dev.edgeexport.sdk.GeneratorOptions
import dev.edgeexport.sdk.InstalledBundles
import dev.edgeexport.sdk.SharedFiles
import dev.edgeexport.sdk.Sounds
import kotlinx.coroutines.CoroutineScope
import kotlinx.coroutines.SupervisorJob
import java.io.File

/** Holds what lives as long as the process: the model behind the screen, and runs without one. */
internal open class DemoApplication : Application() {
    private val scope = CoroutineScope(SupervisorJob() + MainThread)
    private val bundles by lazy { InstalledBundles(this) }

    /** How bundles are opened; a test has an engine of its own. */
    open val opener: GeneratorOpener = GeneratorOpener { bundle, threads, label ->
        EdgeAudioGenerator.open(this, bundle, GeneratorOptions(threads = threads, label = label))
    }

    /** Where sound comes out; a test hears nothing. */
    open val loudspeaker: Loudspeaker by lazy {
        AudioOutput(this).let { output -> Loudspeaker { pieces, onFrame -> output.play(pieces, onFrame) } }
    }

    val model: MainModel by lazy { modelOf(this, bundles, opener, loudspeaker, scope) }
    val headless: Headless by lazy {
        // The model is made first: it asks whether the process before died at something.
        model.let { Headless(this, bundles, opener, scope) }
    }

    override fun onTrimMemory(level: Int) {
        super.onTrimMemory(level)
        if (level != ComponentCallbacks2.TRIM_MEMORY_UI_HIDDEN) model.trimMemory()
    }
}

/** The model with all that it works with. */
internal fun modelOf(
    context: Context,
    bundles: InstalledBundles,
    opener: GeneratorOpener,
    loudspeaker: Loudspeaker,
    scope: CoroutineScope,
): MainModel {
    val holder = StateHolder(scope)
    val settings = Settings(context)
    val player = Player(scope, loudspeaker) { frame -> holder.update { copy(playedFrame = frame) } }
    val clips = Clips(File(context.filesDir, "clips"))
    return MainModel(
        holder = holder,
        bundles = BundleModel(holder, bundles, settings, opener),
        clips = ClipModel(holder, clips, player, Sounds(context), SharedFiles.folder(context)),
        settings = settings,
        note = CrashNote(context),
    )
}
