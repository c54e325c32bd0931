// The last touches to a sound before it is written: its cut end faded, its level raised. It does not know files.
// Every sample is multiplied in double and rounded to float once: the same bytes as runtime_py/finishing.py's.
#pragma once

#include "tensor.h"

namespace edge {

// What is done. normalize: raise, or lower, the peak to -1 dBFS. fade: where the end was cut, let it fall to 0.
struct Finishing {
  bool normalize = false, fade = true;
};

// A new tensor of `audio`, float32 [channels, samples] at `sample_rate` Hz. cut: it ends before the model's clip does.
// First the fade, where `cut`: of the last n = min(samples, round(0.005 * sample_rate)) samples, half to even, number
// k from 0 is multiplied by (n - 1 - k) / n, so that the last is 0. Then the level: with peak the largest magnitude,
// where it is above 0, every sample is multiplied by 0.8912509381337456 / peak.
Tensor finished(const Tensor& audio, int64_t sample_rate, const Finishing& finishing, bool cut);

}  // namespace edge
