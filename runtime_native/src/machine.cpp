#include "machine.h"

#if defined(__aarch64__) && defined(__linux__)
#include <sys/auxv.h>
#endif
#if defined(__linux__)
#include <sched.h>
#endif
#include <sys/resource.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <map>
#include <numeric>
#include <sstream>
#include <thread>

namespace edge {
namespace {

namespace fs = std::filesystem;

// What the kernel says of a core, the better first, and the share of the best core's figure from which on one is fast:
// why these, runtime_py/machine.py says.
struct FastShare {
  const char* file;
  double share;
};
constexpr FastShare kFastShares[] = {{"cpu_capacity", 0.45}, {"cpufreq/cpuinfo_max_freq", 0.8}};

constexpr int64_t kNoLimit = int64_t{1} << 60;  // version 1 of cgroups writes a number near 2^63 where there is none

std::string text_of(const fs::path& path) {
  std::ifstream file(path);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

std::vector<std::string> lines_of(const std::string& text) {
  std::istringstream stream(text);
  std::vector<std::string> lines;
  for (std::string line; std::getline(stream, line);) lines.push_back(line);
  return lines;
}

std::vector<std::string> words_of(const std::string& text) {
  std::istringstream stream(text);
  std::vector<std::string> words;
  for (std::string word; stream >> word;) words.push_back(word);
  return words;
}

std::string stripped(const std::string& text) {
  constexpr char kSpaces[] = " \t\r\n";
  const size_t first = text.find_first_not_of(kSpaces);
  return first == std::string::npos ? "" : text.substr(first, text.find_last_not_of(kSpaces) - first + 1);
}

using Values = std::map<std::string, std::string>;

// Each core's keys and values: blocks that begin with "processor", and what stands outside of them.
std::vector<Values> cores_of(const std::string& cpuinfo) {
  std::vector<Values> cores(1);
  for (const std::string& line : lines_of(cpuinfo)) {
    const size_t colon = std::min(line.find(':'), line.size());
    const std::string key = stripped(line.substr(0, colon));
    if (key == "processor" && cores.back().count(key) != 0) cores.emplace_back();
    cores.back().emplace(key, stripped(line.substr(std::min(colon + 1, line.size()))));
  }
  return cores;
}

// What the kernel calls the bits of AT_HWCAP and AT_HWCAP2, from bit 0: features that all cores have. An emulator gives
// its own there, and this machine's in /proc/cpuinfo.
#if defined(__aarch64__) && defined(__linux__)
std::vector<std::string> cpu_features() {
  static const std::vector<std::string> kFirst = words_of(
      "fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm jscvt fcma lrcpc dcpop sha3 sm3 sm4 "
      "asimddp sha512 sve asimdfhm dit uscat ilrcpc flagm ssbs sb paca pacg");
  static const std::vector<std::string> kSecond = words_of(
      "dcpodp sve2 sveaes svepmull svebitperm svesha3 svesm4 flagm2 frint svei8mm svef32mm svef64mm svebf16 i8mm bf16 dgh "
      "rng bti mte ecv afp rpres mte3 sme smei16i64 smef64f64 smei8i32 smef16f32 smeb16f32 smef32f32 smefa64 wfxt ebf16");
  std::vector<std::string> found;
  for (const auto& [names, kind] : {std::pair{&kFirst, AT_HWCAP}, std::pair{&kSecond, AT_HWCAP2}}) {
    const unsigned long bits = getauxval(static_cast<unsigned long>(kind));
    for (size_t bit = 0; bit < names->size(); ++bit) {
      if (bits >> bit & 1) found.push_back((*names)[bit]);
    }
  }
  return found;
}
#else
std::vector<std::string> cpu_features() { return features_of_all(text_of("/proc/cpuinfo")); }
#endif

// A line "name:   123 kB" of a file, in bytes.
std::optional<int64_t> kilobytes(const fs::path& path, const std::string& name) {
  for (const std::string& line : lines_of(text_of(path))) {
    if (line.compare(0, name.size() + 1, name + ":") == 0) return std::stoll(line.substr(name.size() + 1)) * 1024;
  }
  return std::nullopt;
}

std::optional<int64_t> number_in(const fs::path& path) {
  const std::string text = stripped(text_of(path));
  const bool digits = !text.empty() && text.size() < 20 && text.find_first_not_of("0123456789") == std::string::npos;
  if (!digits) return std::nullopt;
  return static_cast<int64_t>(std::min<uint64_t>(std::stoull(text), kNoLimit));
}

// What the kernel lets go of before a group is short: pages of files that were not used again.
int64_t reclaimable(const fs::path& path, const std::string& name) {
  for (const std::string& line : lines_of(text_of(path))) {
    if (line.compare(0, name.size() + 1, name + " ") == 0) return std::stoll(line.substr(name.size() + 1));
  }
  return 0;
}

struct Cgroups {
  const char *folder, *limit, *use, *inactive;
};

// What is left in the group and in all those above it, the least; a container may see its own group at the root.
void lower_to(std::optional<int64_t>& least, const fs::path& root, const std::string& group, const Cgroups& version) {
  const fs::path top = root / "sys/fs/cgroup" / version.folder;
  for (fs::path below = fs::path(group).relative_path();; below = below.parent_path()) {
    const fs::path folder = below.empty() ? top : top / below;
    const auto limit = number_in(folder / version.limit), use = number_in(folder / version.use);
    if (limit && use && *limit < kNoLimit) {
      const int64_t kept = std::max<int64_t>(0, *use - reclaimable(folder / "memory.stat", version.inactive));
      const int64_t room = std::max<int64_t>(0, *limit - kept);
      least = least ? std::min(*least, room) : room;
    }
    if (below.empty()) return;
  }
}

}  // namespace

Machine this_machine() {
  Machine machine;
  utsname names{};
  if (uname(&names) == 0) {
    machine.system = std::string(names.sysname) + " " + names.release;
    machine.architecture = names.machine;
  }
  Values first = cores_of(text_of("/proc/cpuinfo")).front();
  for (const char* key : {"model name", "Hardware", "CPU part"}) {
    if (machine.cpu.empty()) machine.cpu = first[key];
  }
  machine.cpu_features = cpu_features();
  machine.cores = std::max(1u, std::thread::hardware_concurrency());
  const int64_t pages = sysconf(_SC_PHYS_PAGES), size = sysconf(_SC_PAGESIZE);
  machine.memory_bytes = pages > 0 && size > 0 ? pages * size : 0;
  return machine;
}

std::vector<std::string> features_of_all(const std::string& cpuinfo) {
  std::vector<std::string> common;
  bool first = true;
  for (Values& core : cores_of(cpuinfo)) {
    const auto key = core.count("Features") != 0 ? "Features" : "flags";
    if (core.count(key) == 0) continue;  // old kernels list them once, below the last core
    const std::vector<std::string> features = words_of(core[key]);
    const auto lacks = [&](const std::string& name) {
      return std::find(features.begin(), features.end(), name) == features.end();
    };
    if (first) common = features;
    common.erase(std::remove_if(common.begin(), common.end(), lacks), common.end());
    first = false;
  }
  return common;
}

std::vector<int> allowed_cores() {
  std::vector<int> cores;
#if defined(__linux__)
  cpu_set_t allowed;
  CPU_ZERO(&allowed);
  if (sched_getaffinity(0, sizeof allowed, &allowed) == 0) {
    for (int core = 0; core < CPU_SETSIZE; ++core) {
      if (CPU_ISSET(core, &allowed)) cores.push_back(core);
    }
  }
#endif
  if (cores.empty()) {
    cores.resize(std::max(1u, std::thread::hardware_concurrency()));
    std::iota(cores.begin(), cores.end(), 0);
  }
  return cores;
}

int fast_cores(const fs::path& root, const std::vector<int>& allowed) {
  for (const auto& [file, share] : kFastShares) {
    std::vector<double> figures;
    for (const int core : allowed) {
      const fs::path folder = root / "sys/devices/system/cpu" / ("cpu" + std::to_string(core));
      figures.push_back(static_cast<double>(number_in(folder / file).value_or(0)));
    }
    const auto [least, most] = std::minmax_element(figures.begin(), figures.end());
    if (figures.empty() || *least <= 0) continue;
    const double enough = share * *most;
    return static_cast<int>(std::count_if(figures.begin(), figures.end(), [&](double one) { return one >= enough; }));
  }
  return static_cast<int>(allowed.size());
}

std::optional<int64_t> memory_available(const fs::path& root) {
  std::optional<int64_t> least = kilobytes(root / "proc/meminfo", "MemAvailable");
  for (const std::string& line : lines_of(text_of(root / "proc/self/cgroup"))) {  // number:controllers:group
    const size_t first = line.find(':'), second = line.find(':', first + 1);
    if (first == std::string::npos || second == std::string::npos) continue;
    const std::string controllers = "," + line.substr(first + 1, second - first - 1) + ",", group = line.substr(second + 1);
    if (controllers == ",,") lower_to(least, root, group, {"", "memory.max", "memory.current", "inactive_file"});
    if (controllers.find(",memory,") != std::string::npos) {
      lower_to(least, root, group, {"memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"});
    }
  }
  return least;
}

double peak_memory_mb() {
  if (const auto peak = kilobytes("/proc/self/status", "VmHWM")) return static_cast<double>(*peak) / 1e6;
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
#if defined(__APPLE__)
  return static_cast<double>(usage.ru_maxrss) / 1e6;
#else
  return static_cast<double>(usage.ru_maxrss) * 1024 / 1e6;
#endif
}

void forget_peak_memory() { std::ofstream("/proc/self/clear_refs") << "5"; }

}  // namespace edge
