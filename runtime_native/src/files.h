// Files read whole; and where outputs go: files are replaced whole or not at all, pipes and devices are written to.
// It knows nothing of what is in them.
#pragma once

#include <sys/types.h>

#include <array>
#include <csignal>
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

// While it lives, what was asked to stop goes on, and is stopped after this: no temporary file is left, and no half of a
// file.
class Unstopped {
 public:
  Unstopped();
  ~Unstopped();
  Unstopped(const Unstopped&) = delete;
  Unstopped& operator=(const Unstopped&) = delete;

 private:
  std::array<void (*)(int), 3> before_;
};

// A new file in `folder` that begins with `prefix`, of the user's own, gone again unless it was moved to its place. Each
// call is false, with errno, when it cannot be done.
class Temporary {
 public:
  Temporary(const std::filesystem::path& folder, const std::string& prefix);
  ~Temporary();
  Temporary(const Temporary&) = delete;
  Temporary& operator=(const Temporary&) = delete;

  bool write(std::string_view data);
  bool set_mode(mode_t mode);
  bool sync();
  bool move_to(const std::filesystem::path& path);

 private:
  Unstopped unstopped_;
  std::string name_;
  int file_ = -1;
};

// Put `data` at `path` in one move; OutputError, and nothing left, when that fails. The user's mask narrows `mode`.
// A link is followed to what it names, which is replaced or made. A pipe or a device is written to, and so is whatever
// stands behind a descriptor of this process: "-", /dev/stdout, /dev/fd/3. ReaderGone when nobody reads the pipe.
void replace_file(const std::filesystem::path& path, std::string_view data, mode_t mode = kPublic);

}  // namespace edge
