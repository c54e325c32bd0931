// The contract between the machine that builds a bundle and the device that plays it: manifest.json read into structs.
// Strict: an unknown key, a missing one, a wrong type or a value out of bounds is refused with its path in the document.
// It knows the shape of the contract (runtime_py/manifest.py), not the files it names: bundle.h checks those.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "generation_spec.h"
#include "request.h"

namespace edge {

constexpr int64_t kSchemaVersion = 5;

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

// What a program needs beside its file, in bytes: its weights as packed for the CPU, the same as a file keeps them, equal
// ones once (0 where no file must be used, or it is of no use), and one run's tensors.
struct MemorySpec {
  int64_t packed_bytes = 0, kept_bytes = 0, working_bytes = 0;
};

// One compiled program. What goes into it and comes out of it is in GenerationSpec.
struct ProgramSpec : FileSpec {
  GraphSpec graph;
  MemorySpec memory;
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
  bool as_published = false;
};

struct TokenizerSpec : FileSpec {
  std::string kind;
};

// The golden vectors and the request that made them on the fp32 reference.
struct GoldenSpec : FileSpec {
  Request request;
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
  GenerationSpec generation;
  std::map<std::string, ProgramSpec> programs;  // by role
  TokenizerSpec tokenizer;
  std::vector<FileSpec> notices;
  GoldenSpec golden;
  std::map<std::string, std::string> toolchain;

  // The programs in the order they run, the tokenizer, the notices, the golden vectors.
  std::vector<const FileSpec*> files() const;
};

// The text of FOLDER/manifest.json. BundleError when it is missing or cannot be read.
std::string read_manifest(const std::filesystem::path& folder);

// A manifest from its JSON text. BundleError when it is not JSON, from another version, altered, or breaks the contract;
// the message begins with the place in the document.
Manifest parse_manifest(const std::string& text);

}  // namespace edge
