#include "files.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <fstream>

#include "errors.h"

namespace edge {
namespace {

[[noreturn]] void refuse(const std::filesystem::path& path, int error) {
  const char* advice = error == ENOSPC ? "free some space" : "write elsewhere";
  throw OutputError("cannot write " + path.string() + ": " + std::strerror(error) + "; " + advice);
}

// A file of ours beside the one to replace, gone again unless it was moved there.
class Temporary {
 public:
  explicit Temporary(const std::filesystem::path& folder) : name_((folder / ".edge-run-XXXXXX").string()) {
    file_ = mkstemp(name_.data());
  }
  ~Temporary() {
    if (file_ >= 0) close(file_);
    if (!name_.empty()) unlink(name_.c_str());
  }
  bool write(std::string_view data, mode_t mode) {
    while (file_ >= 0 && !data.empty()) {
      const ssize_t written = ::write(file_, data.data(), data.size());
      if (written < 0 && errno == EINTR) continue;
      if (written < 0) return false;
      data.remove_prefix(static_cast<size_t>(written));
    }
    return file_ >= 0 && fchmod(file_, mode & ~mask()) == 0 && fsync(file_) == 0;
  }
  bool move_to(const std::filesystem::path& path) {
    if (rename(name_.c_str(), path.c_str()) != 0) return false;
    name_.clear();
    return true;
  }

 private:
  static mode_t mask() {
    const mode_t mask = umask(0);
    umask(mask);
    return mask;
  }
  std::string name_;
  int file_ = -1;
};

}  // namespace

std::string read_file(const std::filesystem::path& path, uintmax_t most) {
  std::error_code failed;
  const uintmax_t size = std::filesystem::file_size(path, failed);
  if (failed) throw BundleError("cannot read " + path.string() + ": " + failed.message() + "; check the path and its permissions");
  if (size > most) {
    throw BundleError(path.string() + " has " + std::to_string(size) + " bytes, more than " + std::to_string(most >> 20) +
                      " MiB; rebuild the bundle");
  }
  std::string bytes(size, '\0');
  std::ifstream file(path, std::ios::binary);
  if (!file || !file.read(bytes.data(), static_cast<std::streamsize>(size))) {
    throw BundleError("cannot read " + path.string() + ": " + std::strerror(errno) + "; check the path and its permissions");
  }
  return bytes;
}

void replace_file(const std::filesystem::path& path, std::string_view data, mode_t mode) {
  std::error_code failed;
  if (std::filesystem::is_directory(path, failed)) throw OutputError(path.string() + " is a folder; name a file");
  if (std::filesystem::exists(path, failed) && !std::filesystem::is_regular_file(path, failed)) {
    throw OutputError(path.string() + " is not a plain file; name another");
  }
  const auto folder = path.has_parent_path() ? path.parent_path() : std::filesystem::path(".");
  Temporary temporary(folder);
  if (!temporary.write(data, mode) || !temporary.move_to(path)) refuse(path, errno);
}

}  // namespace edge
