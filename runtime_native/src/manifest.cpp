#include "manifest.h"

#include <algorithm>
#include <set>

#include "errors.h"
#include "files.h"
#include "schema.h"
#include "sha256.h"
#include "strict_json.h"

namespace edge {
namespace {

constexpr char kManifestFile[] = "manifest.json";
constexpr uintmax_t kMaxManifestBytes = 4 << 20;
constexpr int64_t kMaxFileBytes = int64_t{16} << 30, kMaxMemoryBytes = int64_t{1} << 44;
constexpr size_t kSealDigits = 64;
constexpr char kSealKey[] = "\"seal\": \"";

bool is_hex(char byte) { return (byte >= '0' && byte <= '9') || (byte >= 'a' && byte <= 'f'); }

bool is_alphanumeric(char byte) {
  return (byte >= '0' && byte <= '9') || (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z');
}

bool is_plain_name(const std::string& name) {
  const auto allowed = [](char byte) { return is_alphanumeric(byte) || byte == '.' || byte == '_' || byte == '-'; };
  return !name.empty() && name.size() <= 128 && is_alphanumeric(name[0]) && std::all_of(name.begin(), name.end(), allowed);
}

// ['a', 'b']: as runtime_py writes a list.
std::string listed(std::vector<std::string> words) {
  for (std::string& word : words) word = in_quotes(word);
  return "[" + joined(words) + "]";
}

// The keys of a table by role, those that are known in the order they run.
template <typename Value>
std::vector<std::string> roles_of(const std::map<std::string, Value>& table) {
  std::vector<std::string> roles;
  for (const std::string& role : kRoles) {
    if (table.count(role) != 0) roles.push_back(role);
  }
  for (const auto& [role, value] : table) {
    if (std::find(kRoles.begin(), kRoles.end(), role) == kRoles.end()) roles.push_back(role);
  }
  return roles;
}

}  // namespace

void read_fields(Fields& from, FileSpec& into) {
  from.read("file", into.file);
  from.read("sha256", into.sha256);
  from.read("bytes", into.bytes);
}

void validate(const FileSpec& spec, const std::string& path) {
  require(is_plain_name(spec.file), path + ".file", in_quotes(spec.file) + " is not a plain file name inside the bundle");
  require(spec.file != kManifestFile, path + ".file", "names the manifest itself");
  const bool hash = spec.sha256.size() == 64 && std::all_of(spec.sha256.begin(), spec.sha256.end(), is_hex);
  require(hash, path + ".sha256", "is not 64 hex digits");
  require(spec.bytes >= 0 && spec.bytes <= kMaxFileBytes, path + ".bytes", "is out of bounds");
}

void read_fields(Fields& from, GraphSpec& into) {
  from.read("delegates", into.delegates);
  from.read("delegated", into.delegated);
  from.read("undelegated", into.undelegated);
}

void read_fields(Fields& from, MemorySpec& into) {
  from.read("packed_bytes", into.packed_bytes);
  from.read("kept_bytes", into.kept_bytes);
  from.read("working_bytes", into.working_bytes);
}

void validate(const MemorySpec& spec, const std::string& path) {
  require(spec.packed_bytes >= 0 && spec.packed_bytes <= kMaxMemoryBytes, path + ".packed_bytes", "is out of bounds");
  require(spec.kept_bytes >= 0 && spec.kept_bytes <= kMaxMemoryBytes, path + ".kept_bytes", "is out of bounds");
  require(spec.working_bytes >= 0 && spec.working_bytes <= kMaxMemoryBytes, path + ".working_bytes", "is out of bounds");
}

void read_fields(Fields& from, ProgramSpec& into) {
  read_fields(from, static_cast<FileSpec&>(into));
  from.read("graph", into.graph);
  from.read("memory", into.memory);
}

void validate(const ProgramSpec& spec, const std::string& path) { validate(static_cast<const FileSpec&>(spec), path); }

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
  from.read("as_published", into.as_published);
}

void read_fields(Fields& from, TokenizerSpec& into) {
  read_fields(from, static_cast<FileSpec&>(into));
  from.read("kind", into.kind);
}

void validate(const TokenizerSpec& spec, const std::string& path) {
  validate(static_cast<const FileSpec&>(spec), path);
  const bool known = spec.kind == "sentencepiece-unigram";
  require(known, path + ".kind", in_quotes(spec.kind) + " is not known; expected 'sentencepiece-unigram'");
}

void read_fields(Fields& from, GoldenSpec& into) {
  read_fields(from, static_cast<FileSpec&>(into));
  from.read("request", into.request);
}

void validate(const GoldenSpec& spec, const std::string& path) { validate(static_cast<const FileSpec&>(spec), path); }

void read_fields(Fields& from, TargetSpec& into) {
  from.read("name", into.name);
  from.read("cpu_features", into.cpu_features);
}

void read_fields(Fields& from, Manifest& into) {
  from.read("schema_version", into.schema_version);
  from.read("model", into.model);
  from.read("target", into.target);
  from.read("backend", into.backend);
  from.read("recipe", into.recipe);
  from.read("generation", into.generation);
  from.read("programs", into.programs);
  from.read("tokenizer", into.tokenizer);
  from.read("notices", into.notices);
  from.read("golden", into.golden);
  from.read("toolchain", into.toolchain);
}

void validate(const Manifest& manifest, const std::string&) {
  const auto roles = roles_of(manifest.generation.programs), found = roles_of(manifest.programs);
  require(roles == found, "programs", "are " + listed(found) + ", generation.programs has " + listed(roles));
  std::set<std::string> files;
  for (const FileSpec* file : manifest.files()) {
    require(files.insert(file->file).second, "programs", "name the file " + listed({file->file}) + " twice");
  }
  const Request& golden = manifest.golden.request;
  require(golden.steps.has_value(), "golden.request.steps", "is not a number");
  try {
    check_request(golden, manifest.generation);
  } catch (const UsageError& error) {
    throw SchemaError("golden.request", error.what());
  }
}

namespace {

// The version is looked at first, so that a later manifest is called that and not "unknown key".
void require_version(const Json& document) {
  const auto found = document.find("schema_version");
  const bool number = found != document.end() && found->is_number_unsigned() && found->get<uint64_t>() >= 1;
  require(number, "schema_version", "is not a version number");
  const std::string is = "is " + found->dump() + ", this edge-export reads ", ours = std::to_string(kSchemaVersion);
  const uint64_t version = found->get<uint64_t>();
  require(version <= kSchemaVersion, "schema_version", is + "up to " + ours + "; upgrade edge-export");
  require(version == kSchemaVersion, "schema_version",
          is + ours + ": made by an earlier version; build it again, or fetch a newer one");
}

// The last key of the file is the seal: sha256 of the file as it is when the seal's value is empty.
void require_seal(const std::string& text, const Json& seal) {
  require(seal.is_string(), "seal", "is missing; build the bundle again");
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

Manifest parsed(const std::string& text) {
  Json document;
  try {
    document = parse_json(text);
  } catch (const std::invalid_argument& error) {
    throw SchemaError("", std::string("is not valid JSON (") + error.what() + "); rebuild the bundle");
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
  require_seal(text, seal);
  return manifest;
}

}  // namespace

std::vector<const FileSpec*> Manifest::files() const {
  std::vector<const FileSpec*> found;
  for (const std::string& role : roles_of(programs)) found.push_back(&programs.at(role));
  found.push_back(&tokenizer);
  for (const FileSpec& notice : notices) found.push_back(&notice);
  found.push_back(&golden);
  return found;
}

std::string read_manifest(const std::filesystem::path& folder) {
  const auto path = folder / kManifestFile;
  if (std::error_code failed; !std::filesystem::exists(path, failed) && !failed) {
    throw BundleError(folder.string() + " is not a bundle: it has no manifest.json; make one with `edge-export build`");
  }
  return read_file(path, kMaxManifestBytes);
}

Manifest parse_manifest(const std::string& text) {
  try {
    return parsed(text);
  } catch (const SchemaError& error) {
    throw BundleError("manifest.json: " + std::string(error.what()));
  }
}

}  // namespace edge
