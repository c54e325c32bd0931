// What a generation needs of memory, told before it begins. It knows sizes alone.
#pragma once

#include <cstdint>
#include <optional>

#include "manifest.h"

namespace edge {

// Growth over an empty process, in bytes: pages of the programs' files, which the system can drop and read again, and
// memory of this process alone.
struct Estimate {
  int64_t mapped_bytes = 0, private_bytes = 0;
  int64_t needed_bytes() const { return mapped_bytes + private_bytes; }
};

// Programs are loaded one at a time, so that the largest counts: its file, its packed weights, its working memory.
// Beside it, the loop's own tensors.
Estimate estimate(const Manifest& manifest, const Request& request);

// GenerationError when less is `available` than is needed; where the system says nothing, nothing is refused.
void require_memory(const Estimate& estimate, std::optional<int64_t> available);

}  // namespace edge
