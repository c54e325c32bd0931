// Weights as a runtime packs them for this CPU, kept in files from one run to the next.
//
//   <cache>/edge-export/weights/<key>.<checksum>     beside those of runtime_py/packed_weights.py, and by its rules
//
// Mapped from a file they are loaded in no time. It knows files and their checksums, not programs. Without a folder to
// write to, all goes on as if there were nothing kept.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>

#include "machine.h"

namespace edge {

constexpr int64_t kMostPackedBytes = int64_t{4} << 30;

// What decides how a program's weights are packed: the program, who packs them, by version, and this CPU.
std::string packed_key(const std::string& program_sha256, const std::string& packer, const Machine& machine);

// An open file, by a path that no folder's name makes too long, for a runtime to open once more.
class OpenFile {
 public:
  explicit OpenFile(int descriptor) : descriptor_(descriptor) {}
  ~OpenFile();
  OpenFile(const OpenFile&) = delete;
  OpenFile& operator=(const OpenFile&) = delete;

  int descriptor() const { return descriptor_; }
  std::string path() const { return "/proc/self/fd/" + std::to_string(descriptor_); }
  int64_t size() const;

 private:
  int descriptor_;
};

// Memory to pack about `bytes` into, as a file; none where the system has no such thing, or allows no file so large.
std::shared_ptr<OpenFile> memory_to_pack_into(int64_t bytes);

class PackedWeights {
 public:
  // `folder` need not exist yet; an empty one is none.
  explicit PackedWeights(std::filesystem::path folder) : folder_(std::move(folder)) {}

  // Whether something is kept under `key`, right or not.
  bool has(const std::string& key) const;

  // The file kept under `key`, or none. What is not as it was written is removed. As long as it is open, nobody who asks
  // for its lock changes it; the program that maps it needs no more than that it is not written to.
  std::shared_ptr<OpenFile> find(const std::string& key);

  // Keep a copy of what was packed, whole or not at all, then drop what was used longest ago beyond kMostPackedBytes, and
  // what killed runs left behind.
  void keep(const OpenFile& packed, const std::string& key);

  // Why something could not be kept, in one line; empty where all is well.
  const std::string& trouble() const { return trouble_; }

 private:
  std::filesystem::path folder_;
  std::string trouble_;
};

}  // namespace edge
