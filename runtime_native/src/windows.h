// Which windows of a latent to decode, and what to keep of each, so that the sound is that of the whole.
// It knows lengths alone: neither programs nor samples.
#pragma once

#include <cstdint>
#include <vector>

namespace edge {

// A stretch of the latent that begins at `start`; of its sound, that of latents [first, end) is kept.
struct Window {
  int64_t start, first, end;
};

// Windows of `window` latents that give the sound of the first `needed` of `length`, one after another. A window's sound
// is right where no cut is within `margin` latents; the ends of the latent are no cuts. So `window` is `length`, or
// above 2 `margin` and below `length`; `needed` is at most `length`.
std::vector<Window> windows(int64_t length, int64_t window, int64_t margin, int64_t needed);

}  // namespace edge
