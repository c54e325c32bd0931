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

// All of the file is read, and its weights are packed beside it.
Estimate while_loaded(const ProgramSpec& program) { return {program.bytes, program.memory.packed_bytes}; }

// Of the file remains what was not packed, such as tables of embeddings: about as much as it is larger.
Estimate while_run(const ProgramSpec& program) {
  const int64_t packed = program.memory.packed_bytes;
  return {std::max<int64_t>(0, program.bytes - packed), packed + program.memory.working_bytes};
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

Estimate estimate_request(const Manifest& manifest, const Request& request) {
  const GenerationSpec& spec = manifest.generation;
  const int64_t audio = samples_in(request.seconds, spec.audio.sample_rate) * spec.audio.channels * kSampleBytes;
  const int64_t latent = spec.latent.channels() * spec.latent.length() * kSampleBytes;
  Estimate worst{0, 2 * audio};  // the pieces' sound and the whole that it is joined to
  const auto meet = [&](const Estimate& moment) {
    if (moment.total_bytes() > worst.total_bytes()) worst = moment;
  };
  for (const auto& [stage, roles] : kStages) {
    int64_t own = latent * kLatentsKept + (stage == kStages.back().stage ? audio : 0);
    Estimate held;
    for (const std::string& role : roles) {
      if (!spec.has(role)) continue;
      const ProgramSpec& program = manifest.programs.at(role);
      own += output_bytes(spec.programs.at(role));
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
