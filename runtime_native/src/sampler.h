// Ping-pong sampling: from noise to a clean latent in a few steps, re-noised in between.
// It knows neither the network nor where noise comes from.
#pragma once

#include <functional>
#include <vector>

namespace edge {

using Velocity = std::function<std::vector<float>(const std::vector<float>& latent, float sigma)>;
using Noise = std::function<std::vector<float>()>;

// steps + 1 values: sigmoid(-logSNR) over equal steps of logSNR from `low` to `high`, the first set to 1, the last to 0.
// UsageError for steps outside 1..1000.
std::vector<float> sigmas(int64_t steps, double low, double high);

// The clean latent of the last step along `schedule`, which falls from 1 to 0.
// clean = latent - sigma velocity; latent = (1 - next) clean + next noise (arXiv 2505.08175, section 3.4), in float32.
// `noise` is drawn from once to start and once after each step but the last.
// GenerationError when the velocity is NaN or infinite; the message names the step, counted from 1.
std::vector<float> pingpong(const Velocity& velocity, const Noise& noise, const std::vector<float>& schedule);

}  // namespace edge
