// The record of a run, which `edge-export compare` holds against the reference: facts, times, memory, every tensor.
// The contract is runtime_py/record.py's.
#pragma once

#include <filesystem>
#include <optional>
#include <string>

#include "audio.h"
#include "bundle.h"
#include "device.h"
#include "generate.h"

namespace edge {

struct Run {
  Request request;
  bool golden = false;
  std::string label;
  Device device;
  int threads = 0;
  Generation made;
  std::optional<WavReport> wav;
  bool float32 = false;
};

// The record's JSON text.
std::string dump_record(const Bundle& bundle, const Run& run);

// Every tensor as FOLDER/<name>.npy. OutputError when the folder cannot be made or a file not be written.
void dump_tensors(const std::filesystem::path& folder, const Tensors& tensors);

}  // namespace edge
