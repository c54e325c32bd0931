// Files read whole, and replaced whole or not at all. It knows nothing of what is in them.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>

namespace edge {

constexpr mode_t kPublic = 0666, kPrivate = 0600;

// The bytes of a plain file of at most `most` bytes. BundleError when it is missing, larger, or cannot be read.
std::string read_file(const std::filesystem::path& path, uintmax_t most);

// Put `data` at `path` in one move; OutputError, and nothing left, when that fails.
// Only a plain file is replaced: never a folder, nor a device such as /dev/null. The user's mask narrows `mode`.
void replace_file(const std::filesystem::path& path, std::string_view data, mode_t mode = kPublic);

}  // namespace edge
