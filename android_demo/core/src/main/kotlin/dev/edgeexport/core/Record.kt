package dev.edgeexport.core

import kotlinx.serialization.ExperimentalSerializationApi
import kotlinx.serialization.json.Json
import kotlinx.serialization.json.JsonArray
import kotlinx.serialization.json.JsonElement
import kotlinx.serialization.json.JsonNull
import kotlinx.serialization.json.JsonObject
import kotlinx.serialization.json.JsonPrimitive
import kotlinx.serialization.json.JsonUnquotedLiteral
import kotlinx.serialization.json.encodeToStream
import java.io.File
import java.io.IOException
import java.io.OutputStream
import java.util.Base64

private const val RECORD_VERSION = 3L
private const val MAX_RECORD_BYTES = 1L shl 30
private const val MAX_DIMENSIONS = 8
private val INPUTS = listOf("own", "golden")
private val FORMATS = listOf("wav", "flac", "ogg", "mp3")

/** Who ran it, and the engine below. */
internal data class RuntimeInfo(val name: String, val version: String, val engine: String, val engineVersion: String)

/** Which bundle. [manifestSha256]: of manifest.json's bytes. */
internal data class BundleIdentity(
    val manifestSha256: String,
    val model: String,
    val backend: String,
    val recipe: String,
)

/** One event: seconds to load and to run, and the most memory since its stage began, in MB of 10^6 bytes. */
internal data class StageRecord(
    val stage: String,
    val index: Long,
    val count: Long,
    val load: Double,
    val run: Double,
    val peakRssMb: Double,
)

/**
 * All of a record but its tensors and its WAV.
 *
 * @property label the place where it ran, as `device run --on` names it, or empty.
 * @property request nothing is left open in it.
 * @property inputs "own", or "golden" where every stage got the reference's.
 * @property openSeconds opening the bundle, which belongs to no stage.
 */
internal data class RunInfo(
    val runtime: RuntimeInfo,
    val bundle: BundleIdentity,
    val label: String,
    val machine: Machine,
    val threads: Long,
    val request: Request,
    val inputs: String,
    val openSeconds: Double,
    val stages: List<StageRecord>,
)

/**
 * The record of a run: where it was made, how long each stage took, and every tensor between the stages, as
 * `edge-export compare` reads it. It judges nothing.
 * Its tensors have the names and the layout of the golden vectors; they are what the device gave, NaN included.
 */
public class Record internal constructor(
    internal val run: RunInfo,
    internal val tensors: Tensors,
    internal val wav: WavReport?,
) {
    /** The same, of the sound that was written as [wav]: then the file's bytes can be held against it, too. */
    public fun with(wav: WavReport): Record = Record(run, tensors, wav)

    /** Write it as JSON; the prompt is in it. The stream is not closed. */
    @OptIn(ExperimentalSerializationApi::class)
    public fun write(out: OutputStream) {
        FORMAT.encodeToStream(JsonElement.serializer(), document(this), out)
        out.write('\n'.code)
    }

    internal companion object {
        @OptIn(ExperimentalSerializationApi::class)
        private val FORMAT = Json {
            prettyPrint = true
            prettyPrintIndent = " "
        }

        /**
         * Read a record.
         *
         * @throws RecordException it cannot be read, is no record, of another version, or contradicts itself.
         */
        fun read(file: File): Record {
            if (!file.isFile) {
                throw RecordException(
                    "no record at $file: not a file; make one with `edge-export device run --record FILE`",
                )
            }
            if (file.length() > MAX_RECORD_BYTES) {
                throw RecordException("$file is larger than ${MAX_RECORD_BYTES shr 20} MiB, and so no record")
            }
            val data = try {
                file.readBytes()
            } catch (error: IOException) {
                throw RecordException("cannot read $file: ${reason(error)}; check its permissions", error)
            }
            val text = textOf(data) ?: throw RecordException("$file is no record: it is not UTF-8; make it again")
            return try {
                parse(text)
            } catch (error: RecordException) {
                throw RecordException("$file is no record: ${error.message}", error)
            }
        }

        /** A record from its JSON text; [RecordException] says what is wrong with it, and where. */
        fun parse(text: String): Record = try {
            parsed(StrictJson.parse(text))
        } catch (error: FormatException) {
            throw RecordException("it is no JSON (${error.message}); make it again", error)
        } catch (error: SchemaException) {
            throw RecordException("${error.message}; make it again", error)
        }
    }
}

/** Watches a generation for its record. */
public class Recorder {
    private val made = ArrayList<Event>()
    private val peaksMb = ArrayList<Double>()

    internal fun add(event: Event) {
        made += event
        peaksMb += Machine.peakMemoryMb()
    }

    /** The same programs; memory is counted anew from one stage to the next, where the system can. */
    internal fun opening(programs: OpenProgram) = OpenProgram { role ->
        if (role in STAGES) Machine.forgetPeakMemory() // the others are a stage's further programs
        programs.open(role)
    }

    /**
     * The record of the generation of [request] that this watched, to its end; [generator] made it.
     *
     * @param runtime who ran it, by name and [version].
     * @param openSeconds it took to open the bundle.
     * @param label a word for the place, such as "app:pixel-8".
     * @param wav what became of the sound, where it was written.
     */
    public fun record(
        generator: Generator,
        request: Request,
        runtime: String,
        version: String,
        openSeconds: Double,
        label: String = "",
        wav: WavReport? = null,
    ): Record {
        val spec = generator.bundle.manifest.generation
        val resolved = request.resolved(spec)
        val run = RunInfo(
            runtime = RuntimeInfo(runtime, version, generator.engine.backend, generator.engine.version),
            bundle = generator.bundle.identity,
            label = label,
            machine = Machine.current(),
            threads = generator.threads.toLong(),
            request = resolved,
            inputs = "own",
            openSeconds = openSeconds,
            stages = stages(),
        )
        return Record(run, tensorsOf(spec, resolved, generator.encode(resolved), made), wav)
    }

    private fun stages() = made.mapIndexed { place, event ->
        StageRecord(
            stage = event.stage,
            index = event.index.toLong(),
            count = event.count.toLong(),
            load = event.load,
            run = event.run,
            peakRssMb = peaksMb[place],
        )
    }
}

/** Which bundle this is, for a record. */
internal val Bundle.identity: BundleIdentity
    get() = BundleIdentity(manifestSha256, manifest.model.name, manifest.backend, manifest.recipe.name)

private fun document(record: Record): JsonObject {
    val run = record.run
    return objectOf(
        "record_version" to JsonPrimitive(RECORD_VERSION),
        "runtime" to run.runtime.let {
            texts(
                "name" to it.name,
                "version" to it.version,
                "engine" to it.engine,
                "engine_version" to it.engineVersion,
            )
        },
        "bundle" to run.bundle.let {
            texts(
                "manifest_sha256" to it.manifestSha256,
                "model" to it.model,
                "backend" to it.backend,
                "recipe" to it.recipe,
            )
        },
        "label" to JsonPrimitive(run.label),
        "machine" to machineJson(run.machine),
        "threads" to JsonPrimitive(run.threads),
        "request" to objectOf(
            "prompt" to JsonPrimitive(run.request.prompt),
            "seconds" to number(run.request.seconds),
            "seed" to JsonPrimitive(run.request.seed),
            "steps" to JsonPrimitive(run.request.steps),
        ),
        "inputs" to JsonPrimitive(run.inputs),
        "open_seconds" to number(run.openSeconds),
        "stages" to JsonArray(run.stages.map(::stageJson)),
        "tensors" to JsonObject(record.tensors.mapValues { tensorJson(it.value) }),
        "wav" to (record.wav?.let(::wavJson) ?: JsonNull),
    )
}

private fun machineJson(machine: Machine) = objectOf(
    "system" to JsonPrimitive(machine.system),
    "architecture" to JsonPrimitive(machine.architecture),
    "cpu" to JsonPrimitive(machine.cpu),
    "cpu_features" to JsonArray(machine.cpuFeatures.map(::JsonPrimitive)),
    "cores" to JsonPrimitive(machine.cores),
    "memory_bytes" to JsonPrimitive(machine.memoryBytes),
)

private fun stageJson(stage: StageRecord) = objectOf(
    "stage" to JsonPrimitive(stage.stage),
    "index" to JsonPrimitive(stage.index),
    "count" to JsonPrimitive(stage.count),
    "load" to number(stage.load),
    "run" to number(stage.run),
    "peak_rss_mb" to number(stage.peakRssMb),
)

private fun tensorJson(tensor: Tensor): JsonObject {
    val bytes = ByteArray(tensor.data.limit()).also { tensor.view().get(it) }
    return objectOf(
        "dtype" to JsonPrimitive(tensor.dtype.label),
        "shape" to JsonArray(tensor.shape.map(::JsonPrimitive)),
        "data" to JsonPrimitive(Base64.getEncoder().encodeToString(bytes)),
    )
}

private fun wavJson(wav: WavReport) = objectOf(
    "sha256" to JsonPrimitive(wav.sha256),
    "bytes" to JsonPrimitive(wav.bytes),
    "sample_rate" to JsonPrimitive(wav.sampleRate),
    "channels" to JsonPrimitive(wav.channels),
    "samples" to JsonPrimitive(wav.samples),
    "peak" to number(wav.peak),
    "clipped" to JsonPrimitive(wav.clipped),
    "float32" to JsonPrimitive(wav.float32),
    "finishing" to objectOf(
        "normalize" to JsonPrimitive(wav.finishing.normalize),
        "fade" to JsonPrimitive(wav.finishing.fade),
    ),
    "tags" to JsonPrimitive(wav.tags),
    "format" to JsonPrimitive(wav.format),
)

private fun objectOf(vararg entries: Pair<String, JsonElement>) = JsonObject(linkedMapOf(*entries))

private fun texts(vararg entries: Pair<String, String>) = JsonObject(
    entries.associate {
        it.first to
            JsonPrimitive(it.second)
    },
)

@OptIn(ExperimentalSerializationApi::class)
private fun number(number: Double): JsonPrimitive = JsonUnquotedLiteral(shortest(number))

private fun parsed(value: JsonElement): Record {
    val document = value as? JsonObject ?: throw RecordException("it is no JSON object; make it again")
    val version = document["record_version"] ?: JsonNull
    val ours = kindOf(version) == "int" && (version as JsonPrimitive).content == "$RECORD_VERSION"
    if (!ours) {
        throw RecordException(
            "record_version is ${version.toString().firstPoints(40)}, this edge-export reads $RECORD_VERSION; " +
                "make the record with a runner of this version",
        )
    }
    for (key in listOf("tensors", "wav")) {
        if (key !in document) throw RecordException("$key is missing; make it again")
    }
    val run = readRun(JsonObject(document - "tensors" - "wav"))
    val wav = optional(::readWav)(document.getValue("wav"), "wav")
    val tensors = document["tensors"] as? JsonObject ?: throw RecordException("tensors is no object; make it again")
    return Record(run, tensors.mapValues { (name, entry) -> readTensor(name, entry) }, wav)
}

private fun readRun(value: JsonElement): RunInfo = Fields(
    value, "", "record_version", "runtime", "bundle", "label", "machine", "threads", "request", "inputs",
    "open_seconds", "stages",
).run {
    val made = RunInfo(
        runtime = get("runtime", ::readRuntime),
        bundle = get("bundle", ::readIdentity),
        label = text("label"),
        machine = get("machine", ::readMachine),
        threads = whole("threads"),
        request = get("request", ::readRequest),
        inputs = text("inputs"),
        openSeconds = number("open_seconds"),
        stages = get("stages", listOf(::readStage)),
    )
    validate(made)
    made
}

private fun validate(run: RunInfo) {
    require(run.inputs in INPUTS, "inputs") {
        "is ${quoted(run.inputs.firstPoints(40))}, expected one of ${INPUTS.joinToString()}"
    }
    val steps = run.request.steps
    require(steps != null && steps in 1..MAX_STEPS, "request.steps") {
        "is ${steps ?: "None"}, expected 1 to $MAX_STEPS"
    }
    try {
        TorchRandom(run.request.seed)
    } catch (error: UsageException) {
        throw SchemaException("request", error.message, error)
    }
    require(run.machine.cores >= 1, "machine.cores") { "is below 1" }
    require(run.threads >= 1, "threads") { "is below 1" }
    require(run.openSeconds >= 0, "open_seconds") { "is no number from 0 up" }
    val known = run.stages.isNotEmpty() && run.stages.all { it.stage in STAGES }
    require(known, "stages") { "does not list what each of ${STAGES.keys.joinToString()} took" }
    for ((index, stage) in run.stages.withIndex()) {
        val sound = listOf(stage.load, stage.run, stage.peakRssMb).all { it >= 0 }
        require(sound, "stages[$index]") { "holds a time or memory that is no number from 0 up" }
    }
}

private fun readRuntime(value: JsonElement, path: String) =
    Fields(value, path, "name", "version", "engine", "engine_version").run {
        RuntimeInfo(text("name"), text("version"), text("engine"), text("engine_version"))
    }

private fun readIdentity(value: JsonElement, path: String) =
    Fields(value, path, "manifest_sha256", "model", "backend", "recipe").run {
        BundleIdentity(text("manifest_sha256"), text("model"), text("backend"), text("recipe"))
    }

private fun readMachine(value: JsonElement, path: String) = Fields(
    value,
    path,
    "system",
    "architecture",
    "cpu",
    "cpu_features",
    "cores",
    "memory_bytes",
).run {
    Machine(
        system = text("system"),
        architecture = text("architecture"),
        cpu = text("cpu"),
        cpuFeatures = get("cpu_features", listOf(::readText)),
        cores = int("cores"),
        memoryBytes = whole("memory_bytes"),
    )
}

private fun readStage(value: JsonElement, path: String) =
    Fields(value, path, "stage", "index", "count", "load", "run", "peak_rss_mb").run {
        StageRecord(
            text("stage"),
            whole("index"),
            whole("count"),
            number("load"),
            number("run"),
            number("peak_rss_mb"),
        )
    }

private fun readWav(value: JsonElement, path: String) = Fields(
    value, path, "sha256", "bytes", "sample_rate", "channels", "samples", "peak", "clipped", "float32", "finishing",
    "tags", "format",
).run {
    WavReport(
        sha256 = text("sha256"),
        bytes = whole("bytes"),
        sampleRate = int("sample_rate"),
        channels = int("channels"),
        samples = int("samples"),
        peak = number("peak"),
        clipped = whole("clipped"),
        float32 = flag("float32"),
        finishing = get("finishing", ::readFinishing),
        tags = flag("tags"),
        format = get("format", ::readFormat),
    )
}

private fun readFormat(value: JsonElement, path: String): String {
    val known = value is JsonPrimitive && value.isString && value.content in FORMATS
    require(known, path) { "is ${shown(value)}, expected one of ${FORMATS.joinToString { quoted(it) }}" }
    return (value as JsonPrimitive).content
}

/** One tensor out of {"dtype", "shape", "data"}, the data base64 of little-endian numbers in C order. */
private fun readTensor(name: String, entry: JsonElement): Tensor {
    if (entry !is JsonObject || entry.keys != setOf("dtype", "shape", "data")) {
        throw RecordException("tensors.$name is not made of dtype, shape and data")
    }
    val label = entry["dtype"] as? JsonPrimitive
    val dtype = if (label != null && label.isString) DType.of(label.content) else null
    dtype ?: throw RecordException("tensors.$name.dtype is none of ${DType.LABELS}")
    val shape = sizesOf(entry.getValue("shape")) ?: throw RecordException("tensors.$name.shape is no list of sizes")
    val data = entry["data"] as? JsonPrimitive
    if (data == null || !data.isString) throw RecordException("tensors.$name.data is no text")
    val raw = decodedBase64(data.content) ?: throw RecordException("tensors.$name.data is not base64")
    if (raw.size.toLong() != byteCount(dtype, shape)) {
        throw RecordException("tensors.$name.data has ${raw.size} bytes, which is not $dtype of shape $shape")
    }
    return Tensor(dtype, shape, java.nio.ByteBuffer.wrap(raw))
}

private fun sizesOf(value: JsonElement): List<Long>? {
    if (value !is JsonArray || value.size > MAX_DIMENSIONS || value.any { kindOf(it) != "int" }) return null
    val sizes = value.map { (it as JsonPrimitive).content.toLongOrNull() ?: -1 }
    return sizes.takeIf { sizes.all { it >= 0 } && elementsOf(sizes, MAX_ELEMENTS) <= MAX_ELEMENTS }
}

/**
 * Hold a record against the bundle it says it is of: all tensors there, of the manifest's shapes.
 *
 * @throws RecordException it is of another bundle, or lacks a tensor.
 */
internal fun Record.check(bundle: Bundle) {
    checkIdentity(bundle)
    val expected = recordLayout(bundle)
    for (name in (expected.keys + tensors.keys).sorted()) {
        val found = tensors[name]
            ?: throw RecordException("the record lacks the tensor ${quoted(name)}; make it again with --record")
        if (found.form != expected[name]) {
            val wanted = expected[name]?.let { "${it.dtype} ${tuple(it.shape)}" } ?: "nothing of that name"
            throw RecordException(
                "the record's ${name.firstPoints(60)} is ${found.dtype} ${tuple(found.shape)}, expected $wanted; " +
                    "make it again with --record",
            )
        }
    }
    val (channels, samples) = expected.getValue("audio").shape
    val rate = bundle.manifest.generation.audio.sampleRate
    val differs = wav != null && listOf(wav.channels.toLong(), wav.samples.toLong()) != listOf(channels, samples)
    if (differs || (wav != null && wav.sampleRate != rate)) {
        throw RecordException("the record's wav is not of its audio, $channels x $samples; make it again with --record")
    }
}

private fun Record.checkIdentity(bundle: Bundle) {
    val ours = bundle.identity
    val theirs = run.bundle
    if (ours == theirs) return
    val named = listOf(
        Triple("model", ours.model, theirs.model),
        Triple("backend", ours.backend, theirs.backend),
        Triple("recipe", ours.recipe, theirs.recipe),
    ).filter { (_, here, there) -> here != there }
    val differs = named.joinToString { (name, here, there) ->
        "$name ${quoted(there.firstPoints(60))}, not ${quoted(here)}"
    }
    throw RecordException(
        "the record is of another bundle than ${bundle.folder}: " +
            differs.ifEmpty { "its manifest has another sha256" } +
            "; name the bundle it was made from, or run that one again",
    )
}

private fun Record.recordLayout(bundle: Bundle): Layout {
    val spec = bundle.manifest.generation
    val whole = spec.latent.samples
    val own = run.inputs == "own"
    val samples = if (own) samplesIn(run.request.seconds, spec.audio.sampleRate) else whole
    if (samples !in 1..whole) {
        throw RecordException("request.seconds is ${brief(run.request.seconds)}, which this bundle cannot make")
    }
    return runLayout(spec, run.request.resolved(spec).steps!!, samples)
}

/** A shape as Python writes a tuple. */
private fun tuple(shape: List<Long>): String =
    shape.joinToString(prefix = "(", postfix = if (shape.size == 1) ",)" else ")")
