#include "estimate.h"

#include <algorithm>
#include <cstdio>

#include "audio.h"
#include "errors.h"

namespace edge {
namespace {

constexpr int64_t kFloat = sizeof(float);

std::string in_megabytes(int64_t bytes) {
  char text[32];
  std::snprintf(text, sizeof text, "%.0f MB", static_cast<double>(bytes) / 1e6);
  return text;
}

}  // namespace

Estimate estimate(const Manifest& manifest, const Request& request) {
  Estimate largest;
  for (const auto& [role, program] : manifest.programs) {
    const Estimate one{program.bytes, program.memory.packed_bytes + program.memory.working_bytes};
    if (one.needed_bytes() > largest.needed_bytes()) largest = one;
  }
  const GenerationSpec& spec = manifest.generation;
  const int64_t steps = *request.resolved(spec).steps, latent = spec.latent.channels() * spec.latent.length();
  const int64_t samples = samples_in(request.seconds, spec.audio.sample_rate) * spec.audio.channels;
  // Of every step the latent, the velocity and the clean latent; of the sound its pieces, and these joined.
  largest.private_bytes += kFloat * (3 * steps * latent + 2 * samples);
  return largest;
}

void require_memory(const Estimate& estimate, std::optional<int64_t> available) {
  if (!available || estimate.needed_bytes() <= *available) return;
  throw GenerationError("this needs " + in_megabytes(estimate.needed_bytes()) + " of memory, " + in_megabytes(*available) +
                        " are free; ask for fewer --seconds, close other programs, or try all the same with --force");
}

}  // namespace edge
