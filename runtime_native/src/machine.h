// The machine this runs on: its CPU, what all of its cores can, how many there are, and memory.
// It judges nothing, and knows nothing of models. Where a system does not say, a number is 0 or none, a text empty.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace edge {

// cpu_features: those that all cores have, as the kernel names them, in the order of the first core.
// memory_bytes: physical memory.
struct Machine {
  std::string system, architecture, cpu;
  std::vector<std::string> cpu_features;
  int64_t cores = 0, memory_bytes = 0;

  // Whether the features are named as a bundle's target names them.
  bool is_arm() const { return architecture == "aarch64" || architecture == "arm64"; }
};

Machine this_machine();

// By the text of /proc/cpuinfo.
std::vector<std::string> features_of_all(const std::string& cpuinfo);

// The numbers of the cores that this process may run on.
std::vector<int> allowed_cores();

// As many threads as pay: of the cores that are `allowed`, a phone's small ones do not count. Figures of the kernel count
// where every such core has them; without any, all of them are fast. Tests give another `root` than the system's.
int fast_cores(const std::filesystem::path& root = "/", const std::vector<int>& allowed = allowed_cores());

// Bytes that this process may still take: of the system and of the groups (containers) it runs in, the least; none
// where nothing is said. Tests give another `root` than the system's.
std::optional<int64_t> memory_available(const std::filesystem::path& root = "/");

// The most memory, in MB of 10^6 bytes, since `forget_peak_memory`, or since the start where that cannot be forgotten.
double peak_memory_mb();
void forget_peak_memory();

}  // namespace edge
