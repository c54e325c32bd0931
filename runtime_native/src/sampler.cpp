#include "sampler.h"

#include <algorithm>
#include <cmath>
#include <string>

#include "errors.h"

namespace edge {

constexpr int64_t kMaxSteps = 1000;

std::vector<float> sigmas(int64_t steps, double low, double high) {
  if (steps < 1 || steps > kMaxSteps) {
    throw UsageError("steps is " + std::to_string(steps) + ", expected 1 to 1000; the model is made for 8");
  }
  std::vector<float> made;
  for (int64_t index = 0; index <= steps; ++index) {
    const double logsnr = low + static_cast<double>(index) * ((high - low) / static_cast<double>(steps));
    made.push_back(static_cast<float>(1 / (1 + std::exp(logsnr))));
  }
  made.front() = 1;
  made.back() = 0;
  return made;
}

std::vector<float> pingpong(const Velocity& velocity, const Noise& noise, const std::vector<float>& schedule) {
  std::vector<float> latent = noise();
  for (size_t index = 0; index + 1 < schedule.size(); ++index) {
    const float sigma = schedule[index], next = schedule[index + 1];
    const std::vector<float> moving = velocity(latent, sigma);
    if (!std::all_of(moving.begin(), moving.end(), [](float value) { return std::isfinite(value); })) {
      throw GenerationError("the dit returned NaN or infinity in step " + std::to_string(index + 1) +
                            "; run `edge-export verify`");
    }
    for (size_t place = 0; place < latent.size(); ++place) {
      const float moved = sigma * moving[place];  // rounded before it is subtracted: no fused operation
      latent[place] -= moved;
    }
    if (next > 0) {
      const std::vector<float> drawn = noise();
      for (size_t place = 0; place < latent.size(); ++place) {
        const float kept = (1 - next) * latent[place], added = next * drawn[place];
        latent[place] = kept + added;
      }
    }
  }
  return latent;
}

}  // namespace edge
