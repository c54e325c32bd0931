// SHA-256 (FIPS 180-4), by the CPU's own instructions where an Arm CPU has them.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>

namespace edge {

// 64 hex digits.
std::string sha256(std::string_view data);

// Of a file, read piece by piece. BundleError when it cannot be read.
std::string sha256_of(const std::filesystem::path& path);

}  // namespace edge
