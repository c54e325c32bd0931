// Samplers: from a start to a clean latent in a few steps. The table lists them; to add one, add an entry.
// A sampler knows neither the network nor where noise comes from.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <utility>
#include <vector>

namespace edge {

constexpr int64_t kMaxSteps = 1000;

using Parameters = std::map<std::string, double>;

// The network: latent and sigma to velocity, of the latent's shape.
using Velocity = std::function<std::vector<float>(const std::vector<float>& latent, float sigma)>;
// The next draw of noise, of the latent's shape.
using Noise = std::function<std::vector<float>()>;

// One step: the latent that entered it, the velocity there, and the clean latent it points to.
struct Step {
  const std::vector<float>&latent, &velocity, &clean;
};
using OnStep = std::function<void(const Step&)>;

struct Sampler {
  std::string kind;
  // Its parameters in order, with the published values.
  std::vector<std::pair<std::string, double>> defaults;
  // steps + 1 values that fall from `first` to 0. UsageError for steps outside 1..1000, or a `first` from which they
  // would rise; std::invalid_argument for parameters that make no grid.
  std::vector<float> (*sigmas)(int64_t steps, double first, const Parameters& parameters);
  // Steps from `latent`, which is noised to the first of `sigmas`; the clean latent of the last. `noise` is drawn from
  // once wherever the sampler noises anew, and only when the next step is to be made.
  // GenerationError when the velocity is NaN or infinite; the message names the step, counted from 1.
  std::vector<float> (*run)(const Velocity& velocity, std::vector<float> latent, const Noise& noise,
                            const std::vector<float>& sigmas, const OnStep& on_step);
};

const std::vector<Sampler>& samplers();

// Null where there is none of that kind.
const Sampler* find_sampler(const std::string& kind);

// What is wrong with `parameters`, in a few words; empty where nothing is.
std::string problem_of(const Sampler& sampler, const Parameters& parameters);

}  // namespace edge
