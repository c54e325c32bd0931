#include "receipt.h"

#include <algorithm>
#include <chrono>
#include <vector>

#include "caches.h"
#include "files.h"
#include "sha256.h"
#include "strict_json.h"

namespace edge {
namespace {

namespace fs = std::filesystem;

constexpr int kReceiptVersion = 1;
constexpr uintmax_t kMostBytes = 1 << 20;
constexpr size_t kMostReceipts = 256, kNameDigits = 32;
constexpr int64_t kSecond = 1'000'000'000, kUnsure = 2 * kSecond;
constexpr std::chrono::hours kForgotten{24};

#if defined(__APPLE__)
const timespec& modified(const struct stat& status) { return status.st_mtimespec; }
const timespec& changed(const struct stat& status) { return status.st_ctimespec; }
#else
const timespec& modified(const struct stat& status) { return status.st_mtim; }
const timespec& changed(const struct stat& status) { return status.st_ctim; }
#endif

int64_t nanoseconds(const timespec& time) { return static_cast<int64_t>(time.tv_sec) * kSecond + time.tv_nsec; }

fs::path path_of(const fs::path& folder, const fs::path& bundle) {
  return folder / (sha256(fs::canonical(bundle).native()).substr(0, kNameDigits) + ".json");
}

// Drop the oldest beyond kMostReceipts, and what killed runs left behind a day ago.
void trim_receipts(const fs::path& folder) {
  std::vector<std::pair<fs::file_time_type, fs::path>> kept;
  for (const auto& entry : fs::directory_iterator(folder)) {
    if (entry.path().extension() == ".json") {
      kept.emplace_back(entry.last_write_time(), entry.path());
    } else if (fs::file_time_type::clock::now() - entry.last_write_time() > kForgotten) {
      fs::remove(entry.path());
    }
  }
  std::sort(kept.rbegin(), kept.rend());
  for (size_t index = kMostReceipts; index < kept.size(); ++index) fs::remove(kept[index].second);
}

}  // namespace

Identity identity_of(const struct stat& status) {
  return {static_cast<int64_t>(status.st_dev), static_cast<int64_t>(status.st_ino), static_cast<int64_t>(status.st_size),
          nanoseconds(modified(status)), nanoseconds(changed(status))};
}

Identities read_receipt(const fs::path& bundle, const std::string& manifest_sha256) {
  try {
    const fs::path folder = cache_folder("receipts");
    if (folder.empty()) return {};
    const Json document = parse_json(read_file(path_of(folder, bundle), kMostBytes));
    if (document.at("receipt_version") != kReceiptVersion || document.at("manifest_sha256") != manifest_sha256) return {};
    return document.at("files").get<Identities>();
  } catch (const std::exception&) {
    return {};
  }
}

void write_receipt(const fs::path& bundle, const std::string& manifest_sha256, const Identities& files, int64_t begun) {
  try {
    const fs::path folder = cache_folder("receipts");
    if (folder.empty()) return;
    Json sure = Json::object();
    for (const auto& [name, identity] : files) {
      if (std::max(identity[3], identity[4]) < begun - kUnsure) sure[name] = identity;
    }
    const Json document = {{"receipt_version", kReceiptVersion}, {"manifest_sha256", manifest_sha256}, {"files", sure}};
    fs::create_directories(folder.parent_path());
    if (fs::create_directory(folder)) fs::permissions(folder, fs::perms::owner_all);
    replace_file(path_of(folder, bundle), document.dump(), kPrivate);
    trim_receipts(folder);
  } catch (const std::exception&) {
    // A receipt that cannot be kept costs time, no more.
  }
}

}  // namespace edge
