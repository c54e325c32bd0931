package dev.edgeexport.demo

import android.net.Uri
import dev.edgeexport.core.Bundle
import dev.edgeexport.core.EdgeExportException
import dev.edgeexport.core.Machine
import dev.edgeexport.core.Request
import dev.edgeexport.sdk.EdgeAudioGenerator
import dev.edgeexport.sdk.InstalledBundles
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.withContext
import java.io.File

/** The folder of the app's assets in which its own bundle lies. */
internal const val BUILT_IN = "bundle"

/** Makes a bundle ready to play; null threads: as many as pay. */
internal fun interface GeneratorOpener {
    suspend fun open(bundle: Bundle, threads: Int?, label: String): EdgeAudioGenerator
}

/** The bundles of this device, and the generator of the one that is chosen. It knows no view and no sound. */
internal class BundleModel(
    private val holder: StateHolder,
    private val bundles: InstalledBundles,
    private val settings: Settings,
    private val opener: GeneratorOpener,
) {
    /** Of the bundle that is open; null where there is none. */
    var generator: EdgeAudioGenerator? = null
        private set

    private var builtIn: File? = null

    /** Open what was chosen the last time, or else the app's own bundle. */
    fun start() = holder.begin(Work.Opening()) {
        val chosen = bundles.folders().find { it.name == settings.bundle }
        try {
            use(if (chosen == null) ownBundle() else bundles.open(chosen))
        } catch (error: EdgeExportException) {
            if (chosen == null) throw error
            holder.report(error)
            use(ownBundle())
        } finally {
            list()
        }
    }

    /** Take in the zip that the user chose, and play it from now on. */
    fun importZip(uri: Uri) = holder.begin(Work.Importing()) {
        val bundle = bundles.fromZip(uri) { bytes -> progress(Work.Importing(bytes)) }
        choose(bundle)
        holder.update { copy(message = Message.IMPORTED) }
    }

    fun choose(folder: File) = holder.begin(Work.Opening()) { choose(bundles.open(folder)) }

    /** Remove a bundle that was imported; where it is open, the app's own takes its place. */
    fun delete(folder: File) = holder.begin(Work.Opening()) {
        if (generator?.bundle?.folder == folder) choose(ownBundle())
        bundles.delete(folder)
        list()
    }

    private suspend fun choose(bundle: Bundle) {
        use(bundle)
        settings.bundle = bundle.folder.name
        list()
    }

    private suspend fun ownBundle(): Bundle =
        bundles.fromAssets(BUILT_IN) { bytes -> progress(Work.Opening(bytes)) }.also { builtIn = it.folder }

    private suspend fun use(bundle: Bundle) {
        val opened = opener.open(bundle, threads = null, label = "")
        val card = withContext(Dispatchers.IO) { cardOf(opened) }
        generator?.close()
        generator = opened
        holder.update {
            copy(
                bundle = card,
                draft = draft.within(card),
                checks = null,
                problems = problems.filter { it.kind != ProblemKind.BUNDLE && it.kind != ProblemKind.OUTDATED },
            )
        }
    }

    private suspend fun list() {
        val installed = bundles.folders().map { folder ->
            val name = try {
                bundles.open(folder).manifest.let { "${it.model.name}, ${it.recipeName}" }
            } catch (_: EdgeExportException) {
                null
            }
            BundleChoice(folder, name, isBuiltIn = folder == builtIn)
        }
        holder.update { copy(installed = installed) }
    }

    private fun cardOf(opened: EdgeAudioGenerator): BundleCard {
        val manifest = opened.bundle.manifest
        val usual = Request(prompt = "a", seconds = manifest.defaultSeconds)
        return BundleCard(
            folder = opened.bundle.folder,
            model = manifest.model.name,
            license = manifest.model.license,
            notices = manifest.notices.map(opened.bundle::file),
            recipe = manifest.recipeName,
            target = manifest.target.name,
            backend = manifest.backend,
            bytes = manifest.files.sumOf { it.bytes },
            memoryBytes = opened.estimate(usual).memory.totalBytes,
            threads = Machine.fastCores(),
            secondsLimit = manifest.secondsLimit,
            defaultSteps = manifest.defaultSteps,
            hasGolden = opened.bundle.hasGolden,
            isBuiltIn = opened.bundle.folder == builtIn,
        )
    }

    /** It is called on a thread of its own, often; a step in megabytes is all that is shown. */
    private fun progress(work: Work) = holder.update {
        when {
            work is Work.Opening && this.work is Work.Opening -> copy(work = work)
            work is Work.Importing && this.work is Work.Importing -> copy(work = work)
            else -> this
        }
    }
}

/** The draft as this bundle can make it. */
private fun Draft.within(card: BundleCard): Draft {
    val most = Math.floor(card.secondsLimit * TENTHS) / TENTHS
    return copy(seconds = seconds.coerceAtMost(most), steps = if (prompt.isEmpty()) card.defaultSteps else steps)
}
