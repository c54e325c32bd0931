// Noise from a seed, equal to PyTorch's on a CPU, without PyTorch.
// std::normal_distribution differs between C++ libraries, so a seed means nothing there; this does not.
#pragma once

#include <cstdint>
#include <optional>
#include <random>
#include <vector>

namespace edge {

// The generator that torch.manual_seed(seed) sets up, and its torch.randn in float32: see runtime_py/random.py for the
// sources of the formulas. Draws continue where the last one stopped. UsageError for a seed above 32 bits.
class TorchRandom {
 public:
  explicit TorchRandom(int64_t seed);

  // `count` standard normal numbers: what torch.randn gives, to about 1e-6.
  std::vector<float> randn(size_t count);

 private:
  float uniform();
  double uniform_double();
  double single();
  std::mt19937 bits_;  // the C++ standard fixes its numbers, and seeds it by init_genrand
  std::optional<double> spare_;
};

}  // namespace edge
