// Which windows of a latent, or tiles of a window's features, to decode, and what to keep of each, so that the sound is
// that of the whole. It knows lengths alone: neither programs nor samples.
#pragma once

#include <cstdint>
#include <vector>

namespace edge {

// A stretch that begins at `start`; of its sound, that of moments [first, end) is kept.
struct Window {
  int64_t start, first, end;
};

// Windows of `window` moments that give the sound of [first, needed) of `length`, one after another. A window's sound
// is right where no cut is within `margin` moments; the ends of the whole are no cuts. So `window` is `length`, or
// above 2 `margin` and below `length`; `needed` is at most `length`.
std::vector<Window> windows(int64_t length, int64_t window, int64_t margin, int64_t needed, int64_t first = 0);

}  // namespace edge
