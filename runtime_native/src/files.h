// Files read whole; and where outputs go: files are replaced whole or not at all, pipes and devices are written to.
// It knows nothing of what is in them.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace edge {

constexpr mode_t kPublic = 0666, kPrivate = 0600;

// The bytes of a plain file of at most `most` bytes. BundleError when it is missing, larger, or cannot be read.
std::string read_file(const std::filesystem::path& path, uintmax_t most);

// Refuse outputs that could not be written, or that would spoil the bundle, before any work is done. An empty one is
// none. UsageError when two are one file.
void check_outputs(const std::vector<std::filesystem::path>& paths, const std::filesystem::path& bundle);

// OutputError where `path`, by whatever links, leads into the bundle.
void refuse_inside(const std::filesystem::path& path, const std::filesystem::path& bundle);

// Whether this output is standard output, by any of its names, of which "-" is one.
bool is_stdout(const std::filesystem::path& path);

// Whether this output is a pipe or a device, which is written to.
bool is_stream(const std::filesystem::path& path);

// Put `data` at `path` in one move; OutputError, and nothing left, when that fails. The user's mask narrows `mode`.
// A link is followed to what it names, which is replaced or made. A pipe or a device is written to, and so is whatever
// stands behind a descriptor of this process: "-", /dev/stdout, /dev/fd/3. ReaderGone when nobody reads the pipe.
void replace_file(const std::filesystem::path& path, std::string_view data, mode_t mode = kPublic);

}  // namespace edge
