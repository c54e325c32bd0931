#include "files.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <fstream>
#include <optional>

#include "errors.h"

namespace edge {
namespace {

constexpr int kMostLinks = 40;  // as Linux has it

[[noreturn]] void refuse(const std::filesystem::path& path, int error) {
  const char* advice = error == ENOSPC ? "free some space" : "write elsewhere";
  throw OutputError("cannot write " + path.string() + ": " + std::strerror(error) + "; " + advice);
}

// Where an output leads: `place` is the file, through all links, also where nothing is there yet; `descriptor` is set
// where a descriptor of this process is named, for what stands behind it may have no other name.
struct Lead {
  std::filesystem::path place;
  int descriptor = -1;
};

bool holds_descriptors(const std::string& folder) {
  const std::string ours = "/proc/" + std::to_string(getpid()) + "/";
  if (folder == "/dev/fd" || folder == ours + "fd") return true;
  const std::string name = "/fd";  // of a thread: /proc/1/task/1/fd
  return folder.rfind(ours + "task/", 0) == 0 && folder.size() > name.size() &&
         folder.compare(folder.size() - name.size(), name.size(), name) == 0;
}

Lead lead_of(std::filesystem::path path) {
  if (path.lexically_normal() == "-") return {path, STDOUT_FILENO};
  std::error_code failed;
  int descriptor = -1;
  for (int links = 0; links <= kMostLinks; ++links) {
    const auto folder = std::filesystem::weakly_canonical(std::filesystem::absolute(path).parent_path(), failed);
    const std::string name = path.filename().string();
    const bool number = !name.empty() && name.size() < 6 && std::all_of(name.begin(), name.end(), ::isdigit);
    if (number && descriptor < 0 && holds_descriptors(folder.string())) descriptor = std::stoi(name);
    const auto target = std::filesystem::read_symlink(folder / name, failed);
    if (failed) return {folder / name, descriptor};
    path = folder / target;
  }
  return {path, descriptor};
}

constexpr std::array<int, 3> kStops{SIGHUP, SIGINT, SIGTERM};
volatile std::sig_atomic_t stopped = 0;

void note_stop(int signal) { stopped = signal; }

// False, with errno, when it cannot be written.
bool pour(int file, std::string_view data) {
  while (!data.empty()) {
    const ssize_t written = ::write(file, data.data(), data.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return false;
    data.remove_prefix(static_cast<size_t>(written));
  }
  return true;
}

mode_t user_mask() {
  const mode_t mask = umask(0);
  umask(mask);
  return mask;
}

// Of what `path` leads to, which is no folder; nothing where nothing is there yet.
std::optional<mode_t> mode_of(const std::filesystem::path& path) {
  struct stat found;
  if (stat(path.c_str(), &found) != 0) {
    if (errno == ENOENT) return std::nullopt;
    refuse(path, errno);
  }
  if (S_ISDIR(found.st_mode)) throw OutputError(path.string() + " is a folder; name a file");
  return found.st_mode;
}

[[noreturn]] void refuse_stream(const std::filesystem::path& path, int error) {
  if (error == EPIPE) throw ReaderGone("nobody reads " + path.string() + " any more");
  refuse(path, error);
}

}  // namespace

Unstopped::Unstopped() {
  for (size_t index = 0; index < kStops.size(); ++index) before_[index] = std::signal(kStops[index], note_stop);
}

Unstopped::~Unstopped() {
  for (size_t index = 0; index < kStops.size(); ++index) std::signal(kStops[index], before_[index]);
  if (stopped != 0) std::raise(stopped);
}

Temporary::Temporary(const std::filesystem::path& folder, const std::string& prefix)
    : name_((folder / (prefix + "XXXXXX")).string()) {
  file_ = mkostemp(name_.data(), O_CLOEXEC);
}

Temporary::~Temporary() {
  if (file_ < 0) return;
  close(file_);
  if (!name_.empty()) unlink(name_.c_str());
}

bool Temporary::write(std::string_view data) { return file_ >= 0 && pour(file_, data); }

bool Temporary::set_mode(mode_t mode) { return file_ >= 0 && fchmod(file_, mode) == 0; }

bool Temporary::sync() { return file_ >= 0 && fsync(file_) == 0; }

bool Temporary::move_to(const std::filesystem::path& path) {
  if (file_ < 0 || rename(name_.c_str(), path.c_str()) != 0) return false;
  name_.clear();
  return true;
}

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

void refuse_inside(const std::filesystem::path& path, const std::filesystem::path& bundle) {
  std::error_code failed;
  const auto inner = lead_of(path).place, outer = std::filesystem::weakly_canonical(bundle, failed);
  if (std::mismatch(outer.begin(), outer.end(), inner.begin(), inner.end()).first == outer.end()) {
    throw OutputError(path.string() + " lies inside the bundle, which must stay as it is; write elsewhere");
  }
}

bool is_stdout(const std::filesystem::path& path) { return !path.empty() && lead_of(path).descriptor == STDOUT_FILENO; }

bool is_stream(const std::filesystem::path& path) {
  std::error_code failed;
  return lead_of(path).descriptor >= 0 || (std::filesystem::exists(path, failed) && !std::filesystem::is_regular_file(path, failed));
}

void check_outputs(const std::vector<std::filesystem::path>& paths, const std::filesystem::path& bundle) {
  std::error_code failed;
  std::vector<std::string> seen;
  std::vector<std::filesystem::path> named;
  for (const auto& path : paths) {
    if (path.empty()) continue;
    const auto [place, descriptor] = lead_of(path);
    if (place != "-") refuse_inside(path, bundle);
    if (descriptor >= 0) {
      if (::write(descriptor, "", 0) < 0) refuse(path, errno);  // nothing: it says whether more could be written
    } else if (const auto folder = place.parent_path(); !std::filesystem::is_directory(folder, failed)) {
      throw OutputError("cannot write " + path.string() + ": there is no folder " + folder.string() +
                        "; make it, or write elsewhere");
    } else {
      mode_of(path);
    }
    seen.push_back(descriptor >= 0 ? std::to_string(descriptor) : place.string());
    named.push_back(path);
  }
  for (size_t index = 1; index < seen.size(); ++index) {
    const auto same = static_cast<size_t>(std::find(seen.begin(), seen.end(), seen[index]) - seen.begin());
    if (same != index) {
      throw UsageError(named[same].string() + " and " + named[index].string() + " are one file; name two files");
    }
  }
}

void replace_file(const std::filesystem::path& path, std::string_view data, mode_t mode) {
  const auto [place, descriptor] = lead_of(path);
  if (descriptor >= 0) {
    if (!pour(descriptor, data)) refuse_stream(path, errno);
    return;
  }
  if (const auto found = mode_of(path); found && !S_ISREG(*found)) {
    const int file = open(path.c_str(), O_WRONLY | O_CLOEXEC);  // of a pipe this waits for a reader
    const bool written = file >= 0 && pour(file, data);
    const int error = errno;
    if (file >= 0) close(file);
    if (!written) refuse_stream(path, error);
    return;
  }
  Temporary temporary(place.parent_path(), ".edge-run-");
  const bool whole = temporary.write(data) && temporary.set_mode(mode & ~user_mask()) && temporary.sync();
  if (!whole || !temporary.move_to(place)) refuse(path, errno);
}

}  // namespace edge
