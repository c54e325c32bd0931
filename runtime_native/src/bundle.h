// A bundle on disk, opened safely: only plain files inside its folder, each of the recorded size and hash.
// It knows files, not what is in them.
#pragma once

#include <filesystem>
#include <string>

#include "manifest.h"

namespace edge {

// A folder and its manifest. `path` is the only way to a file.
struct Bundle {
  std::filesystem::path folder;
  Manifest manifest;
  std::string manifest_sha256;
  int64_t hashed_bytes = 0;  // when it was opened; none of the files that a receipt vouches for

  std::filesystem::path path(const FileSpec& spec) const { return folder / spec.file; }
};

// Open the bundle in `folder`. An app may leave the golden vectors out of what it ships.
// Files are hashed when they are met for the first time, and after every change: what was found right is noted in a
// receipt. `check` hashes them all.
// BundleError: no bundle, a manifest that breaks the contract, or a file that is missing or altered.
Bundle open_bundle(const std::filesystem::path& folder, bool check = false);

}  // namespace edge
