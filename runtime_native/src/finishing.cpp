#include "finishing.h"

#include <algorithm>
#include <cmath>

#include "audio.h"

namespace edge {
namespace {

constexpr double kFadeSeconds = 0.005;
constexpr double kPeak = 0.8912509381337456;  // -1 dBFS: 10 ** (-1 / 20)

float scaled(float sample, double factor) { return static_cast<float>(static_cast<double>(sample) * factor); }

}  // namespace

Tensor finished(const Tensor& audio, int64_t sample_rate, const Finishing& finishing, bool cut) {
  Tensor made = audio;
  float* values = made.floats();
  const int64_t channels = made.shape[0], samples = made.shape[1];
  const int64_t count = finishing.fade && cut ? std::min(samples, samples_in(kFadeSeconds, sample_rate)) : 0;
  for (int64_t channel = 0; channel < channels; ++channel) {
    float* end = values + (channel + 1) * samples - count;
    for (int64_t index = 0; index < count; ++index) {
      end[index] = scaled(end[index], static_cast<double>(count - 1 - index) / static_cast<double>(count));
    }
  }
  double peak = 0;
  for (int64_t index = 0; index < channels * samples; ++index) peak = std::max<double>(peak, std::fabs(values[index]));
  if (!finishing.normalize || peak <= 0) return made;
  const double factor = kPeak / peak;
  for (int64_t index = 0; index < channels * samples; ++index) values[index] = scaled(values[index], factor);
  return made;
}

}  // namespace edge
