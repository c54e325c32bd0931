// ExecuTorch, which no other file knows: runs the programs of a bundle. It does not know what their tensors mean.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "bundle.h"
#include "estimate.h"
#include "generation_spec.h"
#include "machine.h"
#include "packed_weights.h"
#include "program.h"

namespace edge {

// A program by itself: its file, the name that messages give it, its hash and the bytes that a file of its packed weights
// holds, as a manifest says them, and what it must take and give; none for whatever it does.
struct ProgramFile {
  std::string path, name, sha256;
  int64_t kept_bytes = 0;
  std::optional<Interface> interface;
};

struct OpenedProgram {
  std::unique_ptr<Program> program;
  Interface interface;
};

// Mapped, and held against its interface, if any; its weights are packed once and kept in `cache`, where there is one.
// BundleError when the file is no program, or not the one described; it is not hashed here.
OpenedProgram open_program(const ProgramFile& file, PackedWeights* cache, const Machine& machine);

// Opens the bundle's own programs, each as above. The bundle must outlive it, and so must `cache`, where there is one.
// BundleError when the bundle is of another backend, too.
OpenProgram bundle_programs(const Bundle& bundle, PackedWeights* cache);

// Where the packed weights of the bundle's programs will lie when they are opened so.
PackedOf packed_places(const Bundle& bundle, const PackedWeights* cache);

constexpr int kMostThreads = 256;

// CPU threads for every program opened from now on; 0 for as many as there are fast cores. None may be open.
void set_threads(int threads);
int thread_count();

}  // namespace edge
