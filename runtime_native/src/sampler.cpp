#include "sampler.h"

#include <algorithm>
#include <cmath>
#include <stdexcept>

#include "errors.h"
#include "schema.h"

namespace edge {
namespace {

constexpr double kMostLogsnr = 100;

// sigmoid(-logSNR) over equal steps of logSNR, the first set to `first`, the last to 0. From logsnr_low, or from the
// logSNR of a start that is only noised to `first` < 1: log((1 - s) / s + 1e-6), as the published library has it.
std::vector<float> logsnr_grid(int64_t steps, double first, const Parameters& parameters) {
  const double published_low = parameters.at("logsnr_low"), high = parameters.at("logsnr_high");
  if (steps < 1 || steps > kMaxSteps) {
    throw UsageError("steps is " + std::to_string(steps) + ", expected 1 to 1000");
  }
  if (!(-kMostLogsnr <= published_low && published_low < high && high <= kMostLogsnr)) {
    throw std::invalid_argument("must have logsnr_low below logsnr_high, both within -100..100");
  }
  const double least = 1 / (1 + std::exp(high));
  if (!(least < first && first <= 1)) {
    throw UsageError("the first sigma is " + brief(first) + ", expected above " + brief(least) + " and up to 1");
  }
  const double low = first == 1 ? published_low : std::log((1 - first) / first + 1e-6);
  std::vector<float> made;
  for (int64_t index = 0; index <= steps; ++index) {
    const double logsnr = low + static_cast<double>(index) * ((high - low) / static_cast<double>(steps));
    made.push_back(static_cast<float>(1 / (1 + std::exp(logsnr))));
  }
  made.front() = static_cast<float>(first);
  made.back() = 0;
  return made;
}

// clean = latent - sigma velocity; latent = (1 - next) clean + next noise (arXiv 2505.08175, section 3.4), in float32.
std::vector<float> pingpong(const Velocity& velocity, std::vector<float> latent, const Noise& noise,
                            const std::vector<float>& sigmas, const OnStep& on_step) {
  std::vector<float> clean(latent.size());
  for (size_t index = 0; index + 1 < sigmas.size(); ++index) {
    const float sigma = sigmas[index], next = sigmas[index + 1];
    const std::vector<float> moving = velocity(latent, sigma);
    if (!std::all_of(moving.begin(), moving.end(), [](float value) { return std::isfinite(value); })) {
      throw GenerationError("the dit returned NaN or infinity in step " + std::to_string(index + 1) +
                            "; run `edge-export verify`");
    }
    for (size_t place = 0; place < latent.size(); ++place) {
      const float moved = sigma * moving[place];  // rounded before it is subtracted: no fused operation
      clean[place] = latent[place] - moved;
    }
    on_step({latent, moving, clean});
    if (next > 0) {
      const std::vector<float> drawn = noise();
      for (size_t place = 0; place < latent.size(); ++place) {
        const float kept = (1 - next) * clean[place], added = next * drawn[place];
        latent[place] = kept + added;
      }
    }
  }
  return clean;
}

}  // namespace

const std::vector<Sampler>& samplers() {
  static const std::vector<Sampler> kSamplers = {
      {"pingpong", {{"logsnr_low", -6.0}, {"logsnr_high", 2.0}}, logsnr_grid, pingpong},
  };
  return kSamplers;
}

const Sampler* find_sampler(const std::string& kind) {
  const auto& all = samplers();
  const auto found = std::find_if(all.begin(), all.end(), [&](const Sampler& sampler) { return sampler.kind == kind; });
  return found == all.end() ? nullptr : &*found;
}

std::string problem_of(const Sampler& sampler, const Parameters& parameters) {
  std::vector<std::string> found, expected;
  for (const auto& [name, value] : sampler.defaults) {
    expected.push_back(name);
    if (parameters.count(name) != 0) found.push_back(name);
  }
  for (const auto& [name, value] : parameters) {
    if (std::find(expected.begin(), expected.end(), name) == expected.end()) found.push_back(name);
  }
  if (found != expected) return "are " + (found.empty() ? "none" : joined(found)) + ", expected " + joined(expected);
  for (const auto& [name, value] : parameters) {
    if (!std::isfinite(value)) return "are not all finite";
  }
  try {
    sampler.sigmas(1, 1, parameters);
  } catch (const std::invalid_argument& error) {
    return error.what();
  }
  return "";
}

}  // namespace edge
