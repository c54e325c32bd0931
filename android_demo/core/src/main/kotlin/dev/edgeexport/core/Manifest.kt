package dev.edgeexport.core

import kotlinx.serialization.json.JsonElement
import kotlinx.serialization.json.JsonObject
import kotlinx.serialization.json.JsonPrimitive
import java.io.File
import kotlin.math.min

/** The version of the contract that is read here. */
public const val SCHEMA_VERSION: Int = 5

internal const val MANIFEST_FILE = "manifest.json"
internal const val MAX_FILE_BYTES = 16L shl 30
internal const val MAX_MANIFEST_BYTES = 4L shl 20
private const val MAX_MEMORY_BYTES = 1L shl 44
private const val DEFAULT_SECONDS = 7.0
private const val NO_SEAL = "\"seal\": \"\""
private val FILE_NAME = Regex("[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
private val SHA256 = Regex("[0-9a-f]{64}")
private val SEAL = Regex("\"seal\": \"([0-9a-f]{64})\"\\s*\\}\\s*\\z")

/** A file of the bundle: its plain name (never a path), size and hash. */
public interface BundleFile {
    public val file: String
    public val sha256: String
    public val bytes: Long
}

/** A file without anything more to know, such as a licence. */
internal data class FileSpec(override val file: String, override val sha256: String, override val bytes: Long) :
    BundleFile

/** What became of a program's graph: how many delegates and delegated operators, and what stayed outside. */
internal data class GraphSpec(val delegates: Long, val delegated: Long, val undelegated: Map<String, Long>)

/**
 * What a program needs beside its file.
 *
 * @property packedBytes its weights as packed for the CPU.
 * @property keptBytes the same as a file keeps them from one run to the next, equal ones once; 0 where no file must be
 *   used, for XNNPACK would take some weights for others, or it is of no use.
 * @property workingBytes its inputs, outputs and all tensors between them, as they are planned for one run.
 */
internal data class MemorySpec(val packedBytes: Long, val keptBytes: Long, val workingBytes: Long)

/** One compiled program. What goes into it and comes out of it is in [GenerationSpec.programs]. */
internal data class ProgramSpec(
    override val file: String,
    override val sha256: String,
    override val bytes: Long,
    val graph: GraphSpec,
    val memory: MemorySpec,
) : BundleFile

/** Which network this is. [checkpointSha256] ties the bundle to the weights it was made from. */
public data class ModelSpec(
    val name: String,
    val modelType: String,
    val diffusionObjective: String,
    val checkpointSha256: String,
    val parameters: Map<String, Long>,
    val license: String,
)

/** One rule of the recipe that was applied, for the record. */
internal data class RuleSpec(
    val submodule: String,
    val operator: String,
    val pattern: String,
    val weights: String,
    val activations: String,
)

/**
 * The recipe by name, its rules, and the [thresholds] (SNR in dB, by stage) that a proof holds it to.
 *
 * @property float16 the programs that compute in float16 what is not int8.
 * @property asPublished the network was cut and exported as published, without rewrites.
 */
internal data class RecipeSpec(
    val name: String,
    val rules: List<RuleSpec>,
    val thresholds: Map<String, Double>,
    val float16: List<String>,
    val asPublished: Boolean,
)

/** The tokenizer's file and what kind it is. */
internal data class TokenizerSpec(
    override val file: String,
    override val sha256: String,
    override val bytes: Long,
    val kind: String,
) : BundleFile

/** The device family the bundle was made for and the least its CPU must have. */
public data class TargetSpec(val name: String, val cpuFeatures: List<String>)

/** The golden vectors and the request that made them on the fp32 reference. */
internal data class GoldenSpec(
    override val file: String,
    override val sha256: String,
    override val bytes: Long,
    val request: Request,
) : BundleFile

/**
 * The contract between the machine that builds a bundle and the device that plays it: `manifest.json`.
 *
 * It knows the shape of the contract, not the files it names: [Bundle.open] checks those.
 *
 * @property backend the runtime that its programs are for: "executorch", "litert".
 * @property notices the checkpoint's licence and notice files, for an app to show.
 * @property programs role -> file, in the order they run.
 * @property toolchain what built it: name -> version.
 */
@ConsistentCopyVisibility
public data class Manifest internal constructor(
    internal val schemaVersion: Int,
    val model: ModelSpec,
    val target: TargetSpec,
    val backend: String,
    internal val recipe: RecipeSpec,
    internal val generation: GenerationSpec,
    internal val programs: Map<String, ProgramSpec>,
    internal val tokenizer: TokenizerSpec,
    val notices: List<BundleFile>,
    internal val golden: GoldenSpec,
    val toolchain: Map<String, String>,
) {
    /** The name of the recipe by which its weights were quantized. */
    public val recipeName: String get() = recipe.name

    /** The longest clip in seconds. */
    public val secondsLimit: Double get() = generation.secondsLimit

    /** 7 seconds, or the model's whole clip where that is shorter. */
    public val defaultSeconds: Double get() = min(DEFAULT_SECONDS, secondsLimit)

    /** Steps of a request that asks for none. */
    public val defaultSteps: Int get() = generation.sampler.steps

    /** Of the sound, in Hz. */
    public val sampleRate: Int get() = generation.audio.sampleRate

    /** Channels of the sound. */
    public val channels: Int get() = generation.audio.channels

    /** What the golden vectors were made for. */
    public val goldenRequest: Request get() = golden.request

    /** All files but the manifest. */
    public val files: List<BundleFile> get() = programs.values + tokenizer + notices + golden

    internal companion object {
        /**
         * Read a manifest from its JSON text. The version is looked at first, so that a later manifest is called that
         * and not "unknown key".
         *
         * @throws BundleVersionException from another version.
         * @throws BundleException not JSON, or it breaks the contract; the message carries the place in the document.
         */
        fun parse(text: String): Manifest = try {
            parsed(text)
        } catch (error: SchemaException) {
            throw BundleException("$MANIFEST_FILE: ${error.message}", error)
        }

        /** [folder]'s own. */
        fun load(folder: File): Manifest {
            val path = File(folder, MANIFEST_FILE)
            if (!path.exists()) {
                throw BundleException(
                    "$folder is not a bundle: it has no $MANIFEST_FILE; make one with `edge-export build`",
                )
            }
            if (path.length() > MAX_MANIFEST_BYTES) {
                val most = MAX_MANIFEST_BYTES shr 20
                throw BundleException("$MANIFEST_FILE: is larger than $most MiB; this is no bundle of ours")
            }
            val text = textOf(readBytes(path, "check the path and its permissions"))
                ?: throw BundleException("cannot read $path: it is not UTF-8; check the path and its permissions")
            return try {
                parse(text)
            } catch (error: BundleVersionException) {
                throw BundleVersionException("$folder: ${error.message}", error.found, error)
            } catch (error: BundleException) {
                throw BundleException("$folder: ${error.message}", error)
            }
        }
    }
}

private fun parsed(text: String): Manifest {
    val document = try {
        StrictJson.parse(text)
    } catch (error: FormatException) {
        throw SchemaException("", "is not valid JSON (${error.message}); rebuild the bundle", error)
    }
    require(document is JsonObject, "") { "is not a JSON object" }
    requireVersion((document as JsonObject)["schema_version"])
    val made = readManifest(JsonObject(document - "seal"))
    requireSeal(text, document["seal"])
    return made
}

private fun requireVersion(value: JsonElement?) {
    val found = if (value != null && kindOf(value) == "int") (value as JsonPrimitive).content.toBigInteger() else null
    require(found != null && found.signum() > 0, "schema_version") { "is not a version number" }
    val ours = SCHEMA_VERSION.toBigInteger()
    val problem = when {
        found!! > ours -> "is $found, this edge-export reads up to $ours; upgrade edge-export"

        found < ours ->
            "is $found, this edge-export reads $ours: made by an earlier version; build it again, or fetch a newer one"

        else -> return
    }
    val version = found.min(Long.MAX_VALUE.toBigInteger()).toLong()
    throw BundleVersionException("$MANIFEST_FILE: schema_version: $problem", version)
}

/** The last key of the file is the seal: sha256 of the file as it is when the seal's value is empty. */
private fun requireSeal(text: String, seal: JsonElement?) {
    val given = seal is JsonPrimitive && seal.isString
    require(given, "seal") { "is missing; build the bundle again" }
    val found = SEAL.find(text)
    val digits = found?.groups?.get(1)
    val intact = found != null && digits != null &&
        sha256Of(text.replaceRange(found.range.first..digits.range.last + 1, NO_SEAL).toByteArray()) == digits.value
    require(intact, "seal") { "is not that of this file, which was altered; copy or build the bundle again" }
}

private fun readManifest(document: JsonObject): Manifest = Fields(
    document, "", "schema_version", "model", "target", "backend", "recipe", "generation", "programs", "tokenizer",
    "notices", "golden", "toolchain",
).run {
    val made = Manifest(
        schemaVersion = whole("schema_version").toInt(),
        model = get("model", ::readModel),
        target = get("target", ::readTarget),
        backend = text("backend"),
        recipe = get("recipe", ::readRecipe),
        generation = get("generation", ::readGeneration),
        programs = get("programs", tableOf(::readProgram)),
        tokenizer = get("tokenizer", ::readTokenizerSpec),
        notices = get("notices", listOf(::readFile)),
        golden = get("golden", ::readGolden),
        toolchain = get("toolchain", tableOf(::readText)),
    )
    validate(made)
    made
}

private fun validate(made: Manifest) {
    val roles = made.generation.programs.keys
    require(made.programs.keys == roles, "programs") {
        "are ${quoted(made.programs.keys)}, generation.programs has ${quoted(roles)}"
    }
    val names = made.files.map { it.file }
    val twice = names.find { name -> names.count { it == name } > 1 }
    require(twice == null, "programs") { "name the file ${quoted(listOf(twice.orEmpty()))} twice" }
    require(made.golden.request.steps != null, "golden.request.steps") { "is not a number" }
    try {
        made.golden.request.check(made.generation)
    } catch (error: UsageException) {
        throw SchemaException("golden.request", error.message, error)
    }
}

private fun readModel(value: JsonElement, path: String): ModelSpec = Fields(
    value,
    path,
    "name",
    "model_type",
    "diffusion_objective",
    "checkpoint_sha256",
    "parameters",
    "license",
).run {
    ModelSpec(
        name = text("name"),
        modelType = text("model_type"),
        diffusionObjective = text("diffusion_objective"),
        checkpointSha256 = text("checkpoint_sha256"),
        parameters = get("parameters", tableOf(::readWhole)),
        license = text("license"),
    )
}

private fun readTarget(value: JsonElement, path: String): TargetSpec = Fields(value, path, "name", "cpu_features").run {
    TargetSpec(text("name"), get("cpu_features", listOf(::readText)))
}

private fun readRule(value: JsonElement, path: String): RuleSpec =
    Fields(value, path, "submodule", "operator", "pattern", "weights", "activations").run {
        RuleSpec(text("submodule"), text("operator"), text("pattern"), text("weights"), text("activations"))
    }

private fun readRecipe(value: JsonElement, path: String): RecipeSpec =
    Fields(value, path, "name", "rules", "thresholds", "float16", "as_published").run {
        RecipeSpec(
            name = text("name"),
            rules = get("rules", listOf(::readRule)),
            thresholds = get("thresholds", tableOf(::readNumber)),
            float16 = get("float16", listOf(::readText)),
            asPublished = flag("as_published"),
        )
    }

private fun readGraph(value: JsonElement, path: String): GraphSpec =
    Fields(value, path, "delegates", "delegated", "undelegated").run {
        GraphSpec(whole("delegates"), whole("delegated"), get("undelegated", tableOf(::readWhole)))
    }

private fun readMemory(value: JsonElement, path: String): MemorySpec =
    Fields(value, path, "packed_bytes", "kept_bytes", "working_bytes").run {
        val made = MemorySpec(whole("packed_bytes"), whole("kept_bytes"), whole("working_bytes"))
        require(made.packedBytes in 0..MAX_MEMORY_BYTES, at("packed_bytes")) { "is out of bounds" }
        require(made.keptBytes in 0..MAX_MEMORY_BYTES, at("kept_bytes")) { "is out of bounds" }
        require(made.workingBytes in 0..MAX_MEMORY_BYTES, at("working_bytes")) { "is out of bounds" }
        made
    }

private fun readFile(value: JsonElement, path: String): FileSpec =
    Fields(value, path, "file", "sha256", "bytes").run { fileSpec() }

private fun Fields.fileSpec(): FileSpec = FileSpec(text("file"), text("sha256"), whole("bytes")).also {
    requireFile(it)
}

private fun Fields.requireFile(spec: BundleFile) {
    require(FILE_NAME.matches(spec.file), at("file")) {
        "${quoted(spec.file)} is not a plain file name inside the bundle"
    }
    require(spec.file != MANIFEST_FILE, at("file")) { "names the manifest itself" }
    require(SHA256.matches(spec.sha256), at("sha256")) { "is not 64 hex digits" }
    require(spec.bytes in 0..MAX_FILE_BYTES, at("bytes")) { "is out of bounds" }
}

private fun readProgram(value: JsonElement, path: String): ProgramSpec =
    Fields(value, path, "file", "sha256", "bytes", "graph", "memory").run {
        val graph = get("graph", ::readGraph)
        val memory = get("memory", ::readMemory)
        fileSpec().run { ProgramSpec(file, sha256, bytes, graph, memory) }
    }

private fun readTokenizerSpec(value: JsonElement, path: String): TokenizerSpec =
    Fields(value, path, "file", "sha256", "bytes", "kind").run {
        val kind = text("kind")
        val made = fileSpec().run { TokenizerSpec(file, sha256, bytes, kind) }
        require(kind == "sentencepiece-unigram", at("kind")) {
            "${quoted(kind)} is not known; expected 'sentencepiece-unigram'"
        }
        made
    }

private fun readGolden(value: JsonElement, path: String): GoldenSpec =
    Fields(value, path, "file", "sha256", "bytes", "request").run {
        val request = get("request", ::readRequest)
        fileSpec().run { GoldenSpec(file, sha256, bytes, request) }
    }
