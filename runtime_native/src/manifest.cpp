#include "manifest.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <set>
#include <stdexcept>

#include "errors.h"
#include "sampler.h"
#include "sha256.h"
#include "strict_json.h"

namespace edge {
namespace {

constexpr uintmax_t kMaxManifestBytes = 4 << 20;
constexpr int64_t kMaxFileBytes = int64_t{16} << 30, kMaxElements = int64_t{1} << 31, kMaxPosition = 1 << 20;
constexpr double kSigmaError = 1e-6;
constexpr size_t kSealDigits = 64;
constexpr char kSealKey[] = "\"seal\": \"";

[[noreturn]] void refuse(const std::string& path, const std::string& problem) {
  throw BundleError("manifest.json: " + (path.empty() ? "" : path + ": ") + problem);
}

void require(bool condition, const std::string& path, const std::string& problem) {
  if (!condition) refuse(path, problem);
}

// What else must hold of what was read; of structs that are not here, nothing but their types.
template <typename Struct>
void validate(const Struct&, const std::string&) {}
void validate(const TensorSpec& spec, const std::string& path);
void validate(const FileSpec& spec, const std::string& path);
void validate(const ProgramSpec& spec, const std::string& path);
void validate(const SamplerSpec& spec, const std::string& path);
void validate(const AudioSpec& spec, const std::string& path);
void validate(const LatentSpec& spec, const std::string& path);
void validate(const ConditioningSpec& spec, const std::string& path);
void validate(const TokenizerSpec& spec, const std::string& path);
void validate(const GoldenSpec& spec, const std::string& path);

// One object of the document: every key is taken once, and what is left when it is done was not in the contract.
class Fields {
 public:
  Fields(const Json& value, std::string path) : value_(value), path_(std::move(path)) {
    require(value.is_object(), path_, std::string("expected an object, found ") + value.type_name());
  }

  std::string at(const std::string& key) const { return path_.empty() ? key : path_ + "." + key; }

  const Json& take(const std::string& key) {
    const auto found = value_.find(key);
    require(found != value_.end(), at(key), "is missing");
    taken_.insert(key);
    return *found;
  }

  void done() const {
    for (const auto& [key, value] : value_.items()) {
      require(taken_.count(key) != 0, at(key), "is not a key of this schema; was it made by another version?");
    }
  }

  void read(const std::string& key, std::string& into) { into = text(take(key), at(key)); }
  void read(const std::string& key, int64_t& into) { into = integer(take(key), at(key)); }
  void read(const std::string& key, double& into) { into = real(take(key), at(key)); }
  void read(const std::string& key, bool& into) {
    const Json& value = take(key);
    require(value.is_boolean(), at(key), std::string("expected true or false, found ") + value.type_name());
    into = value.get<bool>();
  }
  template <typename Value>
  void read(const std::string& key, std::map<std::string, Value>& into) {
    Fields inner(take(key), at(key));
    for (const auto& [name, value] : inner.value_.items()) inner.read(name, into[name]);
  }
  template <typename Value>
  void read(const std::string& key, std::vector<Value>& into) {
    const Json& list = take(key);
    require(list.is_array(), at(key), std::string("expected a list, found ") + list.type_name());
    for (size_t index = 0; index < list.size(); ++index) {
      into.push_back(item(list[index], at(key) + "[" + std::to_string(index) + "]", Value{}));
    }
  }
  template <typename Struct>
  void read_struct(const std::string& key, Struct& into) {
    into = item(take(key), at(key), Struct{});
  }

 private:
  static std::string text(const Json& value, const std::string& path) {
    require(value.is_string(), path, std::string("expected a string, found ") + value.type_name());
    return value.get<std::string>();
  }
  static int64_t integer(const Json& value, const std::string& path) {
    require(value.is_number_integer(), path, std::string("expected an integer, found ") + value.type_name());
    const bool fits = !value.is_number_unsigned() ||
                      value.get<uint64_t>() <= static_cast<uint64_t>(std::numeric_limits<int64_t>::max());
    require(fits, path, "is too large to be true");
    return value.get<int64_t>();
  }
  static double real(const Json& value, const std::string& path) {
    require(value.is_number(), path, std::string("expected a number, found ") + value.type_name());
    const double number = value.get<double>();
    require(value.is_number_float() || std::fabs(number) <= 0x1p53, path, "is too large to be true");
    return number;
  }
  static std::string item(const Json& value, const std::string& path, const std::string&) { return text(value, path); }
  static int64_t item(const Json& value, const std::string& path, int64_t) { return integer(value, path); }
  static double item(const Json& value, const std::string& path, double) { return real(value, path); }
  template <typename Struct>
  static Struct item(const Json& value, const std::string& path, Struct made) {
    Fields fields(value, path);
    read_fields(fields, made);
    fields.done();
    validate(made, path);
    return made;
  }

  const Json& value_;
  std::string path_;
  std::set<std::string> taken_;
};

void read_fields(Fields& from, TensorSpec& into) {
  from.read("name", into.name);
  from.read("position", into.position);
  from.read("dtype", into.dtype);
  from.read("shape", into.shape);
}

void read_fields(Fields& from, FileSpec& into) {
  from.read("file", into.file);
  from.read("sha256", into.sha256);
  from.read("bytes", into.bytes);
}

void read_fields(Fields& from, GraphSpec& into) {
  from.read("delegates", into.delegates);
  from.read("delegated", into.delegated);
  from.read("undelegated", into.undelegated);
}

void read_fields(Fields& from, ProgramSpec& into) {
  read_fields(from, static_cast<FileSpec&>(into));
  from.read("name", into.name);
  from.read("inputs", into.inputs);
  from.read("outputs", into.outputs);
  from.read_struct("graph", into.graph);
}

void read_fields(Fields& from, ModelSpec& into) {
  from.read("name", into.name);
  from.read("model_type", into.model_type);
  from.read("diffusion_objective", into.diffusion_objective);
  from.read("checkpoint_sha256", into.checkpoint_sha256);
  from.read("parameters", into.parameters);
  from.read("license", into.license);
}

void read_fields(Fields& from, RuleSpec& into) {
  from.read("submodule", into.submodule);
  from.read("operator", into.op);
  from.read("pattern", into.pattern);
  from.read("weights", into.weights);
  from.read("activations", into.activations);
}

void read_fields(Fields& from, RecipeSpec& into) {
  from.read("name", into.name);
  from.read("rules", into.rules);
  from.read("thresholds", into.thresholds);
  from.read("float16", into.float16);
  from.read("straight", into.straight);
}

void read_fields(Fields& from, SamplerSpec& into) {
  from.read("kind", into.kind);
  from.read("sigmas", into.sigmas);
  from.read("logsnr", into.logsnr);
}

void read_fields(Fields& from, AudioSpec& into) {
  from.read("sample_rate", into.sample_rate);
  from.read("channels", into.channels);
}

void read_fields(Fields& from, LatentSpec& into) {
  from.read("shape", into.shape);
  from.read("hop", into.hop);
  from.read("margin", into.margin);
}

void read_fields(Fields& from, ConditioningSpec& into) {
  from.read("tokens", into.tokens);
  from.read("seconds_min", into.seconds_min);
  from.read("seconds_max", into.seconds_max);
}

void read_fields(Fields& from, TokenizerSpec& into) {
  read_fields(from, static_cast<FileSpec&>(into));
  from.read("kind", into.kind);
}

void read_fields(Fields& from, GoldenSpec& into) {
  read_fields(from, static_cast<FileSpec&>(into));
  from.read("prompt", into.prompt);
  from.read("seconds", into.seconds);
  from.read("seed", into.seed);
  from.read("steps", into.steps);
}

void read_fields(Fields& from, TargetSpec& into) {
  from.read("name", into.name);
  from.read("cpu_features", into.cpu_features);
}

void read_fields(Fields& from, Manifest& into) {
  from.read("schema_version", into.schema_version);
  from.read_struct("model", into.model);
  from.read_struct("target", into.target);
  from.read("backend", into.backend);
  from.read_struct("recipe", into.recipe);
  from.read_struct("conditioning", into.conditioning);
  from.read_struct("latent", into.latent);
  from.read_struct("audio", into.audio);
  from.read_struct("sampler", into.sampler);
  from.read("programs", into.programs);
  from.read_struct("tokenizer", into.tokenizer);
  from.read_struct("golden", into.golden);
  from.read("toolchain", into.toolchain);
}

bool all_of(const std::string& text, const std::function<bool(char)>& holds) {
  return std::all_of(text.begin(), text.end(), holds);
}

bool is_hex(char byte) { return (byte >= '0' && byte <= '9') || (byte >= 'a' && byte <= 'f'); }

bool is_alphanumeric(char byte) {
  return (byte >= '0' && byte <= '9') || (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z');
}

bool is_plain_name(const std::string& name) {
  return !name.empty() && name.size() <= 128 && is_alphanumeric(name[0]) &&
         all_of(name, [](char byte) { return is_alphanumeric(byte) || byte == '.' || byte == '_' || byte == '-'; });
}

void require_shape(const std::vector<int64_t>& shape, const std::string& path) {
  int64_t elements = 1;
  for (const int64_t size : shape) {
    require(size >= 1, path, "has a size below 1");
    require(size <= kMaxElements && elements <= kMaxElements, path, "is too large to be true");
    elements *= size;
  }
  require(elements <= kMaxElements, path, "is too large to be true");
}

void validate(const TensorSpec& spec, const std::string& path) {
  static const std::set<std::string> kDtypes = {"float32", "float16", "int32", "int64"};
  require(!spec.name.empty(), path + ".name", "is empty");
  require(kDtypes.count(spec.dtype) != 0, path + ".dtype", "'" + spec.dtype + "' is none of float32, float16, int32, int64");
  require(spec.position >= 0 && spec.position <= kMaxPosition, path + ".position", "is out of bounds");
  require_shape(spec.shape, path + ".shape");
}

void validate(const FileSpec& spec, const std::string& path) {
  require(is_plain_name(spec.file), path + ".file", "'" + spec.file + "' is not a plain file name inside the bundle");
  require(spec.file != "manifest.json", path + ".file", "names the manifest itself");
  require(spec.sha256.size() == 64 && all_of(spec.sha256, is_hex), path + ".sha256", "is not 64 hex digits");
  require(spec.bytes >= 0 && spec.bytes <= kMaxFileBytes, path + ".bytes", "is out of bounds");
}

void require_positions(const std::vector<TensorSpec>& specs, const std::string& path) {
  require(!specs.empty(), path, "is empty");
  std::set<std::string> names;
  std::set<int64_t> positions;
  for (const TensorSpec& spec : specs) {
    require(names.insert(spec.name).second, path, "names a tensor twice");
    positions.insert(spec.position);
  }
  const auto count = static_cast<int64_t>(specs.size());
  require(static_cast<int64_t>(positions.size()) == count && *positions.rbegin() == count - 1, path,
          "positions are not 0, 1, 2, ... each once");
}

void validate(const ProgramSpec& spec, const std::string& path) {
  validate(static_cast<const FileSpec&>(spec), path);
  require_positions(spec.inputs, path + ".inputs");
  require_positions(spec.outputs, path + ".outputs");
}

void validate(const SamplerSpec& spec, const std::string& path) {
  const std::vector<double>& found = spec.sigmas;
  require(spec.kind == "pingpong", path + ".kind", "'" + spec.kind + "' is not known; expected 'pingpong'");
  require(found.size() >= 2 && found.size() <= 1001, path + ".sigmas", "needs 2 to 1001 values");
  const bool falling = std::adjacent_find(found.begin(), found.end(), [](double a, double b) { return !(a > b); }) == found.end();
  require(falling && found.front() == 1.0 && found.back() == 0.0, path + ".sigmas", "must fall from 1 to 0");
  require(spec.logsnr.size() == 2 && spec.logsnr[0] < spec.logsnr[1], path + ".logsnr", "must be (low, high)");
  const std::vector<float> made = sigmas(spec.steps(), spec.logsnr[0], spec.logsnr[1]);
  for (size_t index = 0; index < made.size(); ++index) {
    require(std::fabs(found[index] - static_cast<double>(made[index])) <= kSigmaError, path + ".sigmas",
            "are not those of " + std::to_string(spec.steps()) + " steps on this range of logSNR");
  }
}

void validate(const AudioSpec& spec, const std::string& path) {
  require(spec.sample_rate >= 1 && spec.sample_rate <= 768'000, path + ".sample_rate", "is out of bounds");
  require(spec.channels >= 1 && spec.channels <= 64, path + ".channels", "is out of bounds");
}

void validate(const LatentSpec& spec, const std::string& path) {
  const bool pair = spec.shape.size() == 2 && spec.shape[0] >= 1 && spec.shape[1] >= 1;
  require(pair, path + ".shape", "must be (channels, length), both above 0");
  require_shape(spec.shape, path + ".shape");
  require(spec.hop >= 1 && spec.hop <= 1 << 20, path + ".hop", "is out of bounds");
  require(spec.margin >= 0 && spec.margin <= 1 << 20, path + ".margin", "is out of bounds");
}

void validate(const ConditioningSpec& spec, const std::string& path) {
  require(spec.tokens >= 1 && spec.tokens <= 4096, path + ".tokens", "is out of bounds");
  const bool ordered = std::isfinite(spec.seconds_min) && std::isfinite(spec.seconds_max) && spec.seconds_min < spec.seconds_max;
  require(ordered, path + ".seconds_max", "must be finite and above seconds_min");
}

void validate(const TokenizerSpec& spec, const std::string& path) {
  validate(static_cast<const FileSpec&>(spec), path);
  require(spec.kind == "sentencepiece-unigram", path + ".kind", "'" + spec.kind + "' is not known; expected 'sentencepiece-unigram'");
}

void validate(const GoldenSpec& spec, const std::string& path) { validate(static_cast<const FileSpec&>(spec), path); }

const TensorSpec& tensor_of(const ProgramSpec& program, const std::vector<TensorSpec>& specs, const char* side, const char* name) {
  for (const TensorSpec& spec : specs) {
    if (spec.name == name) return spec;
  }
  refuse("programs." + program.name + "." + side, std::string("has no '") + name + "'");
}

void validate_window(const Manifest& manifest) {
  for (const ProgramSpec& program : manifest.programs) {
    if (program.name != "decoder") continue;
    const int64_t window = manifest.window(), length = manifest.latent.length();
    const bool fits = window == length || (window < length && window > 2 * manifest.latent.margin);
    const std::string place = "programs.decoder.";
    require(fits, place + "inputs.latent.shape", "is neither the whole clip nor wider than its margins");
    const std::vector<int64_t> taken = {1, manifest.latent.channels(), window};
    const std::vector<int64_t> made = {1, manifest.audio.channels, window * manifest.latent.hop};
    require(tensor_of(program, program.inputs, "inputs", "latent").shape == taken, place + "inputs.latent.shape",
            "is not (1, channels, window)");
    require(tensor_of(program, program.outputs, "outputs", "audio").shape == made, place + "outputs.audio.shape",
            "is not (1, audio channels, window * hop)");
  }
}

void validate(const Manifest& manifest, const std::string&) {
  require(!manifest.programs.empty(), "programs", "is empty");
  std::set<std::string> programs, files;
  for (const ProgramSpec& program : manifest.programs) {
    require(programs.insert(program.name).second, "programs", "names a program twice");
  }
  for (const FileSpec* file : manifest.files()) {
    require(files.insert(file->file).second, "programs", "names a file twice");
  }
  validate_window(manifest);
}

// The version is looked at first, so that a later manifest is called that and not "unknown key".
void require_version(const Json& document) {
  const auto found = document.find("schema_version");
  const bool number = found != document.end() && found->is_number_unsigned() && found->get<uint64_t>() >= 1;
  require(number, "schema_version", "is not a version number");
  const std::string is = "is " + found->dump(), reads = std::to_string(kSchemaVersion);
  const uint64_t version = found->get<uint64_t>();
  require(version <= kSchemaVersion, "schema_version", is + ", this edge-run reads up to " + reads + "; upgrade edge-run");
  require(version == kSchemaVersion, "schema_version",
          is + ": the bundle was made by an older edge-export than this, which reads " + reads + "; build it again");
}

// The last key of the file is the seal: sha256 of the file as it is when the seal's value is empty.
void require_seal(const std::string& text, const Json& seal) {
  const size_t key = text.rfind(kSealKey);
  const size_t digits = key == std::string::npos ? key : key + sizeof kSealKey - 1;
  bool intact = digits != std::string::npos && seal.get_ref<const std::string&>().size() == kSealDigits &&
                text.compare(digits, kSealDigits, seal.get_ref<const std::string&>()) == 0;
  if (intact) {
    const std::string after = text.substr(digits + kSealDigits);
    const size_t closing = after.find_first_not_of(" \t\r\n", 1);
    const bool last = after[0] == '"' && closing != std::string::npos && after[closing] == '}' &&
                      after.find_first_not_of(" \t\r\n", closing + 1) == std::string::npos;
    intact = last && sha256(text.substr(0, digits) + after) == seal.get<std::string>();
  }
  require(intact, "seal", "is not that of this file, which was altered; copy or build the bundle again");
}

}  // namespace

const ProgramSpec& Manifest::program(const std::string& name) const {
  for (const ProgramSpec& spec : programs) {
    if (spec.name == name) return spec;
  }
  refuse("programs", "has no program '" + name + "'");
}

double Manifest::seconds_limit() const {
  return std::min(static_cast<double>(latent.samples()) / static_cast<double>(audio.sample_rate), conditioning.seconds_max);
}

int64_t Manifest::window() const {
  const ProgramSpec& decoder = program("decoder");
  const std::vector<int64_t>& shape = tensor_of(decoder, decoder.inputs, "inputs", "latent").shape;
  require(shape.size() == 3, "programs.decoder.inputs.latent.shape", "is not (1, channels, length)");
  return shape[2];
}

std::vector<const FileSpec*> Manifest::files() const {
  std::vector<const FileSpec*> found(programs.size());
  std::transform(programs.begin(), programs.end(), found.begin(), [](const ProgramSpec& program) { return &program; });
  found.push_back(&tokenizer);
  found.push_back(&golden);
  return found;
}

Manifest load_manifest(const std::filesystem::path& folder) {
  const auto path = folder / "manifest.json";
  if (std::error_code failed; !std::filesystem::exists(path, failed) && !failed) {
    throw BundleError(folder.string() + " is not a bundle: it has no manifest.json; make one with `edge-export build`");
  }
  return parse_manifest(read_file(path, kMaxManifestBytes));
}

Manifest parse_manifest(const std::string& text) {
  Json document;
  try {
    document = parse_json(text);
  } catch (const std::invalid_argument& error) {
    refuse("", std::string("is not valid JSON (") + error.what() + "); rebuild the bundle");
  }
  require(document.is_object(), "", "is not a JSON object");
  require_version(document);
  const Json seal = document.contains("seal") ? document["seal"] : Json();
  document.erase("seal");
  Fields fields(document, "");
  Manifest manifest;
  read_fields(fields, manifest);
  fields.done();
  validate(manifest, "");
  require(seal.is_string(), "seal", "is missing; build the bundle again");
  require_seal(text, seal);
  return manifest;
}

}  // namespace edge
