// What is known of the machine this runs on, for the record. It judges nothing.
#pragma once

#include <string>
#include <vector>

namespace edge {

struct Device {
  std::string system, machine, cpu;
  std::vector<std::string> cpu_features;
  int cores = 0;
  // Whether the features are named as a bundle's target names them.
  bool is_arm() const { return machine == "aarch64" || machine == "arm64"; }
};

Device this_device();

// The most memory, in MB of 10^6 bytes, since `forget_peak_memory`, or since the start where that cannot be forgotten.
double peak_memory_mb();
void forget_peak_memory();

}  // namespace edge
