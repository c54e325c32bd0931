// How much memory a generation will take, told before it begins: plain arithmetic on what the manifest says, line by
// line that of runtime_py/estimate.py. It knows neither files nor engines.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "manifest.h"

namespace edge {

// What a process that has opened nothing grows by, in bytes, at the worst moment of a generation. mapped: pages of files,
// which the system can take back. private: all else.
struct Estimate {
  int64_t mapped_bytes = 0, private_bytes = 0;

  int64_t total_bytes() const { return mapped_bytes + private_bytes; }
  Estimate operator+(const Estimate& other) const {
    return {mapped_bytes + other.mapped_bytes, private_bytes + other.private_bytes};
  }
};

// How weights are packed: for each operation that uses them, as a runtime without a cache does; equal ones once; or they
// were before, and are mapped from the file that was kept.
enum class Packed { kForEach, kOnce, kMapped };

// That of the program of a role.
using PackedOf = std::function<Packed(const std::string& role)>;

// The programs of a stage are let go before the next is loaded.
Estimate estimate_request(const Manifest& manifest, const Request& request, const PackedOf& packed_of);

// GenerationError when less is `available` than is `needed`; where the system says nothing, nothing is refused.
void refuse_little_memory(const Estimate& needed, std::optional<int64_t> available);

}  // namespace edge
