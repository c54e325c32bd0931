package dev.edgeexport.sdk

import android.content.BroadcastReceiver
import android.content.Context
import android.content.Intent
import android.content.IntentFilter
import android.media.AudioAttributes
import android.media.AudioFocusRequest
import android.media.AudioFormat
import android.media.AudioManager
import android.media.AudioTrack
import dev.edgeexport.core.Audio
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.channels.Channel
import kotlinx.coroutines.coroutineScope
import kotlinx.coroutines.currentCoroutineContext
import kotlinx.coroutines.ensureActive
import kotlinx.coroutines.job
import kotlinx.coroutines.launch

/**
 * A loudspeaker for pieces of sound: it begins with the first one, and waits for those that are still being made.
 *
 * It holds the audio focus while it plays and stops when that is lost, or when headphones are pulled out. One sound is
 * played at a time. It knows nothing of how sound is made.
 */
public class AudioOutput(private val context: Context) {
    private val manager = context.getSystemService(Context.AUDIO_SERVICE) as AudioManager
    private val attributes = AudioAttributes.Builder()
        .setUsage(AudioAttributes.USAGE_MEDIA)
        .setContentType(AudioAttributes.CONTENT_TYPE_MUSIC)
        .build()

    /** Play [audio] from its frame [from] to its end. Returns when the last of it was heard; cancelling stops it. */
    public suspend fun play(audio: Audio, from: Int = 0, onFrame: (Int) -> Unit = {}) {
        val pieces = Channel<Audio>(1)
        pieces.send(audio.from(from))
        pieces.close()
        play(pieces, onFrame = { onFrame(from + it) })
    }

    /**
     * Play [pieces], all of one rate and number of channels, as they come, until the channel is closed and the last of
     * them was heard. [onFrame] hears some times a second which frame is at the loudspeaker. Cancelling stops at once.
     *
     * It returns early where the audio focus is refused or lost, or the sound would become public by a pulled plug.
     */
    public suspend fun play(pieces: Channel<Audio>, onFrame: (Int) -> Unit = {}): Unit = coroutineScope {
        val playing = launch(Dispatchers.IO) {
            // Until there is something to hear, others may play on.
            val first = pieces.receiveCatching().getOrNull() ?: return@launch
            withFocus { write(first, pieces, onFrame) }
        }
        val stop = Stop(context) { playing.cancel() }
        stop.use { playing.join() }
    }

    private suspend fun withFocus(action: suspend () -> Unit) {
        val playing = currentCoroutineContext().job
        val request = AudioFocusRequest.Builder(AudioManager.AUDIOFOCUS_GAIN)
            .setAudioAttributes(attributes)
            .setOnAudioFocusChangeListener { change -> if (change < 0) playing.cancel() }
            .build()
        if (manager.requestAudioFocus(request) != AudioManager.AUDIOFOCUS_REQUEST_GRANTED) return
        try {
            action()
        } finally {
            manager.abandonAudioFocusRequest(request)
        }
    }

    private suspend fun write(first: Audio, others: Channel<Audio>, onFrame: (Int) -> Unit) {
        val track = trackFor(first)
        try {
            track.play()
            var written = 0
            var piece: Audio? = first
            while (piece != null) {
                track.writeAll(piece) { onFrame(track.playbackHeadPosition) }
                written += piece.samples
                piece = others.receiveCatching().getOrNull()
            }
            track.pushOut(written, onFrame)
        } finally {
            track.pause()
            track.flush()
            track.release()
        }
    }

    /** Silence behind the last of [written] frames, as much as the track holds: once it is in, the sound is out. */
    private suspend fun AudioTrack.pushOut(written: Int, onFrame: (Int) -> Unit) {
        val silence = Audio(List(channelCount) { FloatArray(bufferSizeInFrames) }, sampleRate)
        writeAll(silence) { onFrame(minOf(playbackHeadPosition, written)) }
        onFrame(written)
    }

    private fun trackFor(piece: Audio): AudioTrack {
        val mask = if (piece.channels.size == 1) AudioFormat.CHANNEL_OUT_MONO else AudioFormat.CHANNEL_OUT_STEREO
        val format = AudioFormat.Builder()
            .setEncoding(AudioFormat.ENCODING_PCM_FLOAT)
            .setSampleRate(piece.sampleRate)
            .setChannelMask(mask)
            .build()
        val least = AudioTrack.getMinBufferSize(piece.sampleRate, mask, AudioFormat.ENCODING_PCM_FLOAT)
        return AudioTrack.Builder()
            .setAudioAttributes(attributes)
            .setAudioFormat(format)
            .setTransferMode(AudioTrack.MODE_STREAM)
            .setBufferSizeInBytes(maxOf(2 * least, piece.sampleRate * piece.channels.size))
            .build()
    }

    /** Write a piece in small parts, so that cancelling does not wait for all of it. */
    private suspend fun AudioTrack.writeAll(piece: Audio, onPart: () -> Unit) {
        val numbers = interleaved(piece)
        var place = 0
        while (place < numbers.size) {
            currentCoroutineContext().ensureActive()
            val part = minOf(PART * piece.channels.size, numbers.size - place)
            val taken = write(numbers, place, part, AudioTrack.WRITE_BLOCKING)
            if (taken <= 0) return
            place += taken
            onPart()
        }
    }

    private companion object {
        const val PART = 4096
    }
}

/** Calls [onNoisy] when the sound is about to come out of the device's own loudspeaker, until it is closed. */
private class Stop(private val context: Context, private val onNoisy: () -> Unit) : AutoCloseable {
    private val receiver = object : BroadcastReceiver() {
        override fun onReceive(context: Context, intent: Intent) = onNoisy()
    }

    init {
        context.registerReceiver(receiver, IntentFilter(AudioManager.ACTION_AUDIO_BECOMING_NOISY))
    }

    override fun close() = context.unregisterReceiver(receiver)
}

/** One frame after another, as AudioTrack takes them. */
internal fun interleaved(audio: Audio): FloatArray {
    val count = audio.channels.size
    return FloatArray(audio.samples * count) { audio.channels[it % count][it / count] }
}

private fun Audio.from(frame: Int): Audio =
    if (frame == 0) this else Audio(channels.map { it.copyOfRange(frame.coerceIn(0, samples), samples) }, sampleRate)
