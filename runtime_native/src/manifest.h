// The contract between the machine that builds a bundle and the device that plays it: manifest.json read into structs.
// Strict: an unknown key, a missing one, a wrong type or a value out of bounds is refused with its path in the document.
// It knows the shape of the contract (runtime_py/manifest.py), not the files it names: bundle.h checks those.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

namespace edge {

constexpr int64_t kSchemaVersion = 3;

// One input or output of a program. `position` is its place in the compiled program's own order.
struct TensorSpec {
  std::string name;
  int64_t position = 0;
  std::string dtype;
  std::vector<int64_t> shape;
};

// A file of the bundle: its plain name (never a path), size and hash.
struct FileSpec {
  std::string file, sha256;
  int64_t bytes = 0;
};

// What became of a program's graph: how many delegates and delegated operators, and what stayed outside.
struct GraphSpec {
  int64_t delegates = 0, delegated = 0;
  std::map<std::string, int64_t> undelegated;
};

struct ProgramSpec : FileSpec {
  std::string name;
  std::vector<TensorSpec> inputs, outputs;
  GraphSpec graph;
};

struct ModelSpec {
  std::string name, model_type, diffusion_objective, checkpoint_sha256;
  std::map<std::string, int64_t> parameters;
  std::string license;
};

struct RuleSpec {
  std::string submodule, op, pattern, weights, activations;
};

struct RecipeSpec {
  std::string name;
  std::vector<RuleSpec> rules;
  std::map<std::string, double> thresholds;
  std::vector<std::string> float16;
  bool straight = false;
};

// Ping-pong sampling: the sigmas of the default steps, and the logSNR range other step counts use.
struct SamplerSpec {
  std::string kind;
  std::vector<double> sigmas, logsnr;
  int64_t steps() const { return static_cast<int64_t>(sigmas.size()) - 1; }
};

struct AudioSpec {
  int64_t sample_rate = 0, channels = 0;
};

// (channels, length), the samples that one latent becomes, and the margin that a cut needs on either side.
struct LatentSpec {
  std::vector<int64_t> shape;
  int64_t hop = 0, margin = 0;
  int64_t channels() const { return shape[0]; }
  int64_t length() const { return shape[1]; }
  int64_t samples() const { return length() * hop; }
};

struct ConditioningSpec {
  int64_t tokens = 0;
  double seconds_min = 0, seconds_max = 0;
};

struct TokenizerSpec : FileSpec {
  std::string kind;
};

struct GoldenSpec : FileSpec {
  std::string prompt;
  double seconds = 0;
  int64_t seed = 0, steps = 0;
};

struct TargetSpec {
  std::string name;
  std::vector<std::string> cpu_features;
};

struct Manifest {
  int64_t schema_version = 0;
  ModelSpec model;
  TargetSpec target;
  std::string backend;
  RecipeSpec recipe;
  ConditioningSpec conditioning;
  LatentSpec latent;
  AudioSpec audio;
  SamplerSpec sampler;
  std::vector<ProgramSpec> programs;
  TokenizerSpec tokenizer;
  GoldenSpec golden;
  std::map<std::string, std::string> toolchain;

  // BundleError when there is none of that name.
  const ProgramSpec& program(const std::string& name) const;
  // The longest clip: as long as the latent, and no longer than the conditioner's range.
  double seconds_limit() const;
  // Latents that the decoder takes at a time.
  int64_t window() const;
  std::vector<const FileSpec*> files() const;
};

// Read FOLDER/manifest.json. BundleError when it is missing, not JSON, from another version, altered, or breaks the
// contract; the message begins with the place in the document.
Manifest load_manifest(const std::filesystem::path& folder);

// The same from its JSON text.
Manifest parse_manifest(const std::string& text);

}  // namespace edge
