#include "device.h"

#if defined(__aarch64__) && defined(__linux__)
#include <asm/hwcap.h>
#include <sys/auxv.h>
#endif
#include <sys/resource.h>
#include <sys/utsname.h>

#include <algorithm>
#include <fstream>
#include <sstream>
#include <thread>

namespace edge {
namespace {

// The value of the first line "key : value", or nothing.
std::string value_of(const std::string& path, const std::string& key) {
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    const size_t colon = line.find(':');
    if (line.compare(0, key.size(), key) != 0 || colon == std::string::npos) continue;
    if (line.find_first_not_of(" \t", key.size()) != colon) continue;
    const size_t start = line.find_first_not_of(" \t", colon + 1);
    return start == std::string::npos ? "" : line.substr(start);
  }
  return "";
}

std::vector<std::string> words(const std::string& text) {
  std::istringstream stream(text);
  std::vector<std::string> found;
  for (std::string word; stream >> word;) found.push_back(word);
  return found;
}

// What the CPU can, named as in the kernel's "Features" line.
#if defined(__aarch64__) && defined(__linux__)
std::vector<std::string> cpu_features() {
  struct Feature {
    const char* name;
    int word;
    unsigned long bit;
  };
  static constexpr Feature kFeatures[] = {
      {"fp", AT_HWCAP, HWCAP_FP},           {"asimd", AT_HWCAP, HWCAP_ASIMD},     {"aes", AT_HWCAP, HWCAP_AES},
      {"sha2", AT_HWCAP, HWCAP_SHA2},       {"atomics", AT_HWCAP, HWCAP_ATOMICS}, {"fphp", AT_HWCAP, HWCAP_FPHP},
      {"asimdhp", AT_HWCAP, HWCAP_ASIMDHP}, {"asimddp", AT_HWCAP, HWCAP_ASIMDDP}, {"sve", AT_HWCAP, HWCAP_SVE},
      {"sve2", AT_HWCAP2, HWCAP2_SVE2},     {"i8mm", AT_HWCAP2, HWCAP2_I8MM},     {"bf16", AT_HWCAP2, HWCAP2_BF16}};
  std::vector<std::string> found;
  for (const Feature& feature : kFeatures) {
    if (getauxval(static_cast<unsigned long>(feature.word)) & feature.bit) found.push_back(feature.name);
  }
  return found;
}
#else
std::vector<std::string> cpu_features() { return words(value_of("/proc/cpuinfo", "flags")); }
#endif

}  // namespace

Device this_device() {
  const std::string info = "/proc/cpuinfo";
  Device device;
  utsname names{};
  if (uname(&names) == 0) {
    device.system = std::string(names.sysname) + " " + names.release;
    device.machine = names.machine;
  }
  for (const char* key : {"model name", "Hardware", "CPU part"}) {
    if (device.cpu.empty()) device.cpu = value_of(info, key);
  }
  device.cpu_features = cpu_features();
  device.cores = static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
  return device;
}

double peak_memory_mb() {
  const auto told = words(value_of("/proc/self/status", "VmHWM"));
  if (!told.empty()) return std::stod(told.front()) * 1024 / 1e6;
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<double>(usage.ru_maxrss) * 1024 / 1e6;
}

void forget_peak_memory() { std::ofstream("/proc/self/clear_refs") << "5"; }

}  // namespace edge
