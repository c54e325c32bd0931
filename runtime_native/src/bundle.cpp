#include "bundle.h"

#include <sys/stat.h>

#include <cerrno>
#include <chrono>
#include <cstring>

#include "errors.h"
#include "receipt.h"
#include "sha256.h"

namespace edge {
namespace {

// What the disk says of a plain file of the size that the manifest records.
Identity checked_identity(const std::filesystem::path& path, const FileSpec& spec) {
  struct stat status {};
  if (lstat(path.c_str(), &status) != 0) {
    if (errno == ENOENT) throw BundleError(path.string() + " is missing, the manifest lists it; copy or build the bundle again");
    throw BundleError("cannot read " + path.string() + ": " + std::strerror(errno) + "; check its permissions");
  }
  if (!S_ISREG(status.st_mode)) {
    throw BundleError(path.string() + " is not a plain file; a bundle holds no links or folders: rebuild it");
  }
  if (status.st_size != spec.bytes) {
    throw BundleError(path.string() + " has " + std::to_string(status.st_size) + " bytes, the manifest says " +
                      std::to_string(spec.bytes) + "; copy or build it again");
  }
  return identity_of(status);
}

bool is_there(const std::filesystem::path& path) {
  struct stat status {};
  return lstat(path.c_str(), &status) == 0;
}

void check_files(Bundle& bundle, bool trust) {
  using std::chrono::nanoseconds, std::chrono::system_clock;
  const int64_t begun = std::chrono::duration_cast<nanoseconds>(system_clock::now().time_since_epoch()).count();
  const Identities known = trust ? read_receipt(bundle.folder, bundle.manifest_sha256) : Identities{};
  Identities right;
  bool hashed = false;
  for (const FileSpec* spec : bundle.manifest.files()) {
    const auto path = bundle.path(*spec);
    if (spec == &bundle.manifest.golden && !is_there(path)) continue;
    const Identity found = checked_identity(path, *spec);
    const auto noted = known.find(spec->file);
    if (noted == known.end() || noted->second != found) {
      hashed = true;
      bundle.hashed_bytes += spec->bytes;
      if (sha256_of(path) != spec->sha256) {
        throw BundleError(path.string() + " was altered: its sha256 is not the manifest's; copy or build the bundle again");
      }
    }
    right[spec->file] = found;
  }
  if (hashed) write_receipt(bundle.folder, bundle.manifest_sha256, right, begun);
}

}  // namespace

Bundle open_bundle(const std::filesystem::path& folder, bool check) {
  std::error_code failed;
  if (!std::filesystem::is_directory(folder, failed)) {
    throw BundleError("no bundle at " + folder.string() + ": not a folder; make one with `edge-export build`");
  }
  const std::string text = read_manifest(folder);
  Bundle bundle{folder, parse_manifest(text), sha256(text)};
  check_files(bundle, !check);
  return bundle;
}

}  // namespace edge
