#include "bundle.h"

#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "errors.h"
#include "sha256.h"

namespace edge {
namespace {

void check_file(const std::filesystem::path& path, const FileSpec& spec) {
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
  if (sha256_of(path) != spec.sha256) {
    throw BundleError(path.string() + " was altered: its sha256 is not the manifest's; copy or build the bundle again");
  }
}

bool is_there(const std::filesystem::path& path) {
  struct stat status {};
  return lstat(path.c_str(), &status) == 0;
}

}  // namespace

Bundle open_bundle(const std::filesystem::path& folder) {
  std::error_code failed;
  if (!std::filesystem::is_directory(folder, failed)) {
    throw BundleError("no bundle at " + folder.string() + ": not a folder; make one with `edge-export build`");
  }
  Bundle bundle{folder, load_manifest(folder)};
  for (const FileSpec* spec : bundle.manifest.files()) {
    const bool left_out = spec == &bundle.manifest.golden && !is_there(bundle.path(*spec));
    if (!left_out) check_file(bundle.path(*spec), *spec);
  }
  return bundle;
}

void require_cpu(const TargetSpec& target, const std::vector<std::string>& found) {
  std::string missing;
  for (const std::string& feature : target.cpu_features) {
    if (std::find(found.begin(), found.end(), feature) == found.end()) missing += " " + feature;
  }
  if (!missing.empty()) {
    throw DeviceError("this CPU lacks what target " + target.name + " needs:" + missing + "; build for another target");
  }
}

}  // namespace edge
