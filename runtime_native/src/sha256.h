// SHA-256 (FIPS 180-4), by the CPU's own instructions where it has them.
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace edge {

// 64 hex digits.
std::string sha256(std::string_view data);

// Of a file, read piece by piece. BundleError when it cannot be read.
std::string sha256_of(const std::filesystem::path& path);

// One way to take `blocks` of 64 bytes into the eight words of a hash.
struct Sha256Way {
  const char* name;
  void (*compress)(std::array<uint32_t, 8>& state, const uint8_t* data, size_t blocks);
};

// Those that this CPU has, the fastest first, which is the one used above; the last, "portable", every CPU has.
const std::vector<Sha256Way>& sha256_ways();

// The same by another way, for tests: all agree.
std::string sha256(std::string_view data, const Sha256Way& way);

}  // namespace edge
