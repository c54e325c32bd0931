#include "windows.h"

#include <algorithm>
#include <stdexcept>

namespace edge {

std::vector<Window> windows(int64_t length, int64_t window, int64_t margin, int64_t needed, int64_t first) {
  if (needed > length) throw std::invalid_argument("more moments are needed than there are");
  std::vector<Window> found;
  for (int64_t done = first; done < needed;) {
    const int64_t start = std::min(std::max<int64_t>(0, done - margin), length - window);
    const int64_t right = start + window == length ? window : window - margin;
    const int64_t end = std::min(start + right, needed);
    found.push_back({start, done, end});
    done = end;
  }
  return found;
}

}  // namespace edge
