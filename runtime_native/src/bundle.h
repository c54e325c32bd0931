// A bundle on disk, opened safely: only plain files inside its folder, each of the recorded size and hash.
// It knows files, not what is in them.
#pragma once

#include <filesystem>

#include "manifest.h"

namespace edge {

// A folder and its manifest. `path` is the only way to a file.
struct Bundle {
  std::filesystem::path folder;
  Manifest manifest;
  std::filesystem::path path(const FileSpec& spec) const { return folder / spec.file; }
};

// Open the bundle in `folder`; every file is hashed. An app may leave the golden vectors out of what it ships.
// BundleError: no bundle, a manifest that breaks the contract, or a file that is missing or altered.
Bundle open_bundle(const std::filesystem::path& folder);

// DeviceError when the bundle's target needs CPU features that are not among `found`; they are named.
void require_cpu(const TargetSpec& target, const std::vector<std::string>& found);

}  // namespace edge
