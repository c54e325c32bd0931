#include "packed_weights.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#if defined(__linux__)
#include <sys/syscall.h>
#endif
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <system_error>
#include <vector>

#include "files.h"
#include "sha256.h"

namespace edge {
namespace {

namespace fs = std::filesystem;

constexpr int kFormat = 1;  // of keys and checksums
constexpr size_t kKeyDigits = 32;
constexpr int64_t kSpareBytes = int64_t{64} << 20;  // left free beyond what is to be written, for others who write meanwhile
constexpr size_t kPiece = 16 << 20;
constexpr std::chrono::hours kAbandoned{24};  // after which a partial file belongs to a run that was killed
constexpr mode_t kOthersWrite = 022, kReadOnly = 0400;

// Of a key's bytes and then a file's, 64 bits and the size, in hex: against accidents alone, and as fast as memory is
// read. Four lanes take every fourth word; a lane is turned by steps that can be undone, so that no word goes unnoticed.
class Checksum {
 public:
  explicit Checksum(const std::string& key) {
    for (size_t index = 0; index < key.size(); ++index) lanes_[index % 4] = mixed(lanes_[index % 4], uint8_t(key[index]));
  }

  // All pieces but the last are of kPiece bytes.
  void add(const char* data, size_t size) {
    size_ += size;
    for (; size >= kBlock; data += kBlock, size -= kBlock) add_block(data);
    if (size == 0) return;
    char rest[kBlock] = {};
    std::memcpy(rest, data, size);
    add_block(rest);
  }

  std::string digits() const {
    uint64_t sum = size_;
    for (const uint64_t lane : lanes_) sum = mixed(sum, lane);
    char text[48];
    std::snprintf(text, sizeof text, "%016llx%llx", static_cast<unsigned long long>(sum ^ sum >> 32),
                  static_cast<unsigned long long>(size_));
    return text;
  }

 private:
  static constexpr size_t kBlock = 32;
  static constexpr uint64_t kOdd = 0x9E3779B97F4A7C15;  // 2^64 over the golden ratio

  static uint64_t mixed(uint64_t lane, uint64_t word) {
    lane = (lane ^ word) * kOdd;
    return lane << 29 | lane >> 35;
  }
  void add_block(const char* data) {
    uint64_t words[4];
    std::memcpy(words, data, kBlock);
    for (int lane = 0; lane < 4; ++lane) lanes_[lane] = mixed(lanes_[lane], words[lane]);
  }

  std::array<uint64_t, 4> lanes_{1, 2, 3, 4};
  uint64_t size_ = 0;
};

// Hands on the file's bytes in pieces of kPiece, the last one shorter; false, with errno, when they cannot be read, or
// when `take` is. Mapped, they take half the time that copies do, and one piece of memory at a time.
template <typename Take>
bool read_pieces(const OpenFile& file, Take take) {
  const auto size = static_cast<size_t>(file.size());
  for (size_t at = 0; at < size; at += kPiece) {
    const size_t length = std::min(kPiece, size - at);
    void* mapped = mmap(nullptr, length, PROT_READ, MAP_SHARED, file.descriptor(), static_cast<off_t>(at));
    if (mapped == MAP_FAILED) return false;
    const bool taken = take(static_cast<const char*>(mapped), length);
    const int error = errno;
    munmap(mapped, length);
    errno = error;
    if (!taken) return false;
  }
  return true;
}

bool is_ours(const struct stat& status) { return status.st_uid == geteuid() && (status.st_mode & kOthersWrite) == 0; }

// A folder of the user's own, that nobody else may write to.
bool is_own_folder(const fs::path& folder) {
  struct stat status {};
  return stat(folder.c_str(), &status) == 0 && S_ISDIR(status.st_mode) && is_ours(status);
}

std::vector<fs::path> kept_under(const fs::path& folder, const std::string& key) {
  std::vector<fs::path> found;
  std::error_code failed;
  for (fs::directory_iterator entry(folder, failed), end; !failed && entry != end; entry.increment(failed)) {
    if (entry->path().filename().string().rfind(key + ".", 0) == 0) found.push_back(entry->path());
  }
  return found;
}

bool is_partial(const fs::path& path) {
  const std::string name = path.filename().string();
  return name.rfind('.', 0) == 0 && name.find(".partial-") != std::string::npos;
}

// Open, and nobody else's to write to; none where it is no such file or another holds it to change it.
std::shared_ptr<OpenFile> opened(const fs::path& path) {
  const int descriptor = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
  if (descriptor < 0) return nullptr;
  auto file = std::make_shared<OpenFile>(descriptor);
  struct stat status {};
  const bool plain = fstat(descriptor, &status) == 0 && S_ISREG(status.st_mode) && is_ours(status);
  return plain && flock(descriptor, LOCK_SH | LOCK_NB) == 0 ? file : nullptr;
}

int64_t largest_file() {
  rlimit limit{};
  if (getrlimit(RLIMIT_FSIZE, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY) return INT64_MAX;
  return static_cast<int64_t>(std::min<rlim_t>(limit.rlim_cur, INT64_MAX));
}

// For another `size` bytes, though all who write now should need as many.
bool has_room(const fs::path& folder, int64_t size) {
  struct statvfs disk {};
  if (statvfs(folder.c_str(), &disk) != 0 || size + kSpareBytes > largest_file()) return false;
  int64_t writers = 1;
  std::error_code failed;
  for (fs::directory_iterator entry(folder, failed), end; !failed && entry != end; entry.increment(failed)) {
    writers += is_partial(entry->path());
  }
  return static_cast<double>(disk.f_bavail) * static_cast<double>(disk.f_frsize) >=
         static_cast<double>(size) * static_cast<double>(writers) + static_cast<double>(kSpareBytes);
}

// Beyond kMostPackedBytes what was used longest ago goes, and so does what killed runs left behind.
void trim(const fs::path& folder) {
  struct Entry {
    fs::file_time_type used;
    int64_t bytes;
    fs::path path;
  };
  std::vector<Entry> found;
  std::error_code failed;
  for (fs::directory_iterator entry(folder, failed), end; !failed && entry != end; entry.increment(failed)) {
    std::error_code unknown;
    if (!fs::is_regular_file(entry->symlink_status(unknown))) continue;
    const auto bytes = static_cast<int64_t>(entry->file_size(unknown));
    if (const auto used = entry->last_write_time(unknown); !unknown) found.push_back({used, bytes, entry->path()});
  }
  std::sort(found.begin(), found.end(), [](const Entry& a, const Entry& b) { return a.used > b.used; });
  int64_t left = kMostPackedBytes;
  for (const auto& [used, bytes, path] : found) {
    const bool partial = is_partial(path);
    left -= partial ? 0 : bytes;
    if (left < 0 || (partial && fs::file_time_type::clock::now() - used > kAbandoned)) fs::remove(path, failed);
  }
}

// Empty, or what is in the way of keeping so many bytes there. The folder is made where it is not there yet.
std::string obstacle(const fs::path& folder, int64_t size) {
  if (folder.empty()) return "there is no home folder";
  std::error_code failed;
  fs::create_directories(folder.parent_path(), failed);
  if (mkdir(folder.c_str(), 0700) != 0 && errno != EEXIST) return std::strerror(errno);
  if (!fs::is_directory(folder, failed)) return "it is no folder";
  if (!is_own_folder(folder)) return "it is another user's, or others may write to it";
  if (access(folder.c_str(), W_OK | X_OK) != 0) return std::strerror(errno);
  if (!has_room(folder, size)) return "there is too little room";
  return "";
}

}  // namespace

std::string packed_key(const std::string& program_sha256, const std::string& packer, const Machine& machine) {
  std::string parts = std::to_string(kFormat) + '\0' + program_sha256 + '\0' + packer + '\0' + machine.architecture + '\0' + machine.cpu;
  for (const std::string& feature : machine.cpu_features) parts += '\0' + feature;
  return sha256(parts).substr(0, kKeyDigits);
}

OpenFile::~OpenFile() { close(descriptor_); }

int64_t OpenFile::size() const {
  struct stat status {};
  return fstat(descriptor_, &status) == 0 ? static_cast<int64_t>(status.st_size) : 0;
}

std::shared_ptr<OpenFile> memory_to_pack_into(int64_t bytes) {
#if defined(__linux__)
  constexpr unsigned kCloseOnExec = 1;  // MFD_CLOEXEC, which old headers lack
  if (2 * bytes + kSpareBytes > largest_file()) return nullptr;  // growing beyond the limit ends the process
  const auto descriptor = static_cast<int>(syscall(SYS_memfd_create, "edge-run packed weights", kCloseOnExec));
  return descriptor < 0 ? nullptr : std::make_shared<OpenFile>(descriptor);
#else  // no memory with a name
  (void)bytes;
  return nullptr;
#endif
}

bool PackedWeights::has(const std::string& key) const { return !kept_under(folder_, key).empty(); }

std::shared_ptr<OpenFile> PackedWeights::find(const std::string& key) {
  if (folder_.empty() || !is_own_folder(folder_)) return nullptr;
  for (const fs::path& path : kept_under(folder_, key)) {
    const auto file = opened(path);
    if (file == nullptr) continue;
    Checksum checksum(key);
    const bool read = read_pieces(*file, [&](const char* data, size_t size) { return checksum.add(data, size), true; });
    if (read && path.extension() == "." + checksum.digits()) {
      futimens(file->descriptor(), nullptr);  // used now; in a folder that may only be read it stays as it is
      return file;
    }
    std::error_code failed;
    fs::remove(path, failed);
  }
  return nullptr;
}

void PackedWeights::keep(const OpenFile& packed, const std::string& key) {
  const auto give_up = [&](const std::string& reason) {
    if (trouble_.empty()) trouble_ = "packed weights are not kept in " + folder_.string() + ": " + reason;
  };
  if (const std::string reason = obstacle(folder_, packed.size()); !reason.empty()) return give_up(reason);
  Temporary partial(folder_, "." + key + ".partial-");
  Checksum checksum(key);
  const bool written = read_pieces(packed, [&](const char* data, size_t size) {
    checksum.add(data, size);
    return partial.write({data, size});
  });
  if (!written || !partial.set_mode(kReadOnly)) return give_up(std::strerror(errno));
  const std::vector<fs::path> before = kept_under(folder_, key);
  const fs::path place = folder_ / (key + "." + checksum.digits());
  if (!partial.move_to(place)) return give_up(std::strerror(errno));
  std::error_code failed;
  for (const fs::path& path : before) {
    if (path != place) fs::remove(path, failed);
  }
  trim(folder_);
}

}  // namespace edge
