// Receipts: which files of a bundle were hashed and found right, so that they need not be hashed at every start.
//
//   <cache>/edge-export/receipts/<key>.json        as runtime_py/receipt.py writes it, and reads it
//
// A file is known by device, inode, size and the two times that every change of it alters. A receipt that is damaged,
// foreign or cannot be kept costs time, never a bundle. It does not know what is in the files.
#pragma once

#include <sys/stat.h>

#include <array>
#include <cstdint>
#include <filesystem>
#include <map>
#include <string>

namespace edge {

// Device, inode, bytes, and the times of the last change of content and of anything, in nanoseconds.
using Identity = std::array<int64_t, 5>;
using Identities = std::map<std::string, Identity>;  // by the file's name

Identity identity_of(const struct stat& status);

// The files of the folder `bundle` that were found right under this very manifest; none where nothing is known.
Identities read_receipt(const std::filesystem::path& bundle, const std::string& manifest_sha256);

// Note `files` as right, but for those that changed shortly before `begun`, when hashing began (nanoseconds since 1970):
// such a file may change again within one tick of its clock.
void write_receipt(const std::filesystem::path& bundle, const std::string& manifest_sha256, const Identities& files,
                   int64_t begun);

}  // namespace edge
