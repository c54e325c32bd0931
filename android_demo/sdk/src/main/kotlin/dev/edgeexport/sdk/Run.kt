package dev.edgeexport.sdk

import dev.edgeexport.core.Audio
import dev.edgeexport.core.Generator
import dev.edgeexport.core.Recorder
import dev.edgeexport.core.Request
import dev.edgeexport.core.Tensor

/** The version of this library, for records. */
public const val SDK_VERSION: String = "0.1.0"

/** One generation: what the loop does, told as [GenerationEvent]s. It does not know who listens. */
internal class Run(
    private val generator: Generator,
    private val request: Request,
    private val pieces: List<String>,
    private val timings: Timings,
    private val note: CrashNote,
) {
    private val recorder = Recorder()
    private var done = 0
    private var frames = 0

    suspend fun play(openSeconds: Double, label: String, onEvent: suspend (GenerationEvent) -> Unit) {
        val clip = note.during(pieces.first()) {
            generator.generate(request, recorder) { event ->
                done++
                note.write(pieces.getOrElse(done) { event.stage })
                event.tensors["audio"]?.let { onEvent(sound(it)) }
                onEvent(GenerationEvent.Step(event.stage, event.index, event.count, timings.secondsLeft(pieces, done)))
            }
        }
        timings.note(clip.times)
        val record = recorder.record(generator, clip.request, "edge-export-android", SDK_VERSION, openSeconds, label)
        onEvent(GenerationEvent.Done(clip, record))
    }

    private fun sound(tensor: Tensor): GenerationEvent.Sound {
        val samples = tensor.shape[1].toInt()
        val numbers = tensor.toFloatArray()
        val channels = List(tensor.shape[0].toInt()) { numbers.copyOfRange(it * samples, (it + 1) * samples) }
        val audio = Audio(channels, generator.bundle.manifest.sampleRate)
        return GenerationEvent.Sound(audio, frames).also { frames += samples }
    }
}
