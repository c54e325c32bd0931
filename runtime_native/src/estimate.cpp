#include "estimate.h"

#include <algorithm>
#include <cstdio>

#include "audio.h"
#include "errors.h"
#include "tensor.h"

namespace edge {
namespace {

constexpr int64_t kSampleBytes = 4, kMegabyte = 1'000'000;
constexpr int64_t kLatentsKept = 4;  // noise, latent, velocity and clean of one step
// What this runtime takes for itself with the first program: measured as growth less all that is counted below.
constexpr Estimate kOverhead{6 * kMegabyte, 5 * kMegabyte};

// A program of the bundle, and how its weights are packed.
struct Needs {
  int64_t file_bytes = 0;
  MemorySpec memory;
  Packed packed = Packed::kForEach;
};

// Of packed weights.
Estimate weights_of(const Needs& program) {
  if (program.packed == Packed::kMapped) return {program.memory.kept_bytes, 0};
  return {0, program.packed == Packed::kOnce ? program.memory.kept_bytes : program.memory.packed_bytes};
}

// All of the file is read, and its weights are packed beside it, or lie in a file that nothing has read yet.
Estimate while_loaded(const Needs& program) { return {program.file_bytes, weights_of(program).private_bytes}; }

// Of the file remains what was not packed, such as tables of embeddings: about as much as it is larger.
Estimate while_run(const Needs& program) {
  const int64_t unpacked = std::max<int64_t>(0, program.file_bytes - program.memory.packed_bytes);
  return weights_of(program) + Estimate{unpacked, program.memory.working_bytes};
}

int64_t output_bytes(const Interface& interface) {
  int64_t bytes = 0;
  for (const TensorSpec& spec : interface.outputs) bytes += elements_of(spec.shape) * width_of(spec.dtype);
  return bytes;
}

std::string in_megabytes(int64_t bytes) {
  char text[32];
  std::snprintf(text, sizeof text, "%.0f MB", static_cast<double>(bytes) / static_cast<double>(kMegabyte));
  return text;
}

}  // namespace

Estimate estimate_request(const Manifest& manifest, const Request& request, const PackedOf& packed_of) {
  const GenerationSpec& generation = manifest.generation;
  const int64_t audio = samples_in(request.seconds, generation.audio.sample_rate) * generation.audio.channels * kSampleBytes;
  const int64_t latent = generation.latent.channels() * generation.latent.length() * kSampleBytes;
  Estimate worst{0, 2 * audio};  // the pieces' sound and the whole that it is joined to
  const auto meet = [&](const Estimate& moment) {
    if (moment.total_bytes() > worst.total_bytes()) worst = moment;
  };
  for (const auto& [stage, roles] : kStages) {
    int64_t own = latent * kLatentsKept + (stage == kStages.back().stage ? audio : 0);
    Estimate held;
    for (const std::string& role : roles) {
      if (!generation.has(role)) continue;
      const ProgramSpec& spec = manifest.programs.at(role);
      const Needs program{spec.bytes, spec.memory, spec.memory.kept_bytes == 0 ? Packed::kForEach : packed_of(role)};
      own += output_bytes(generation.programs.at(role));
      meet(held + while_loaded(program));
      held = held + while_run(program);
      meet(held + Estimate{0, own});
    }
  }
  return kOverhead + worst;
}

void refuse_little_memory(const Estimate& needed, std::optional<int64_t> available) {
  if (!available || needed.total_bytes() <= *available) return;
  throw GenerationError("this needs " + in_megabytes(needed.total_bytes()) + " of memory, " + in_megabytes(*available) +
                        " are free; close other programs, ask for fewer seconds, or go on all the same with --force");
}

}  // namespace edge
