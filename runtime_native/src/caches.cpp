#include "caches.h"

#include <cstdlib>
#include <utility>

namespace edge {

std::filesystem::path cache_folder(const std::string& name) {
  for (const auto& [variable, below] : {std::pair{"XDG_CACHE_HOME", ""}, std::pair{"HOME", ".cache"}}) {
    const char* value = std::getenv(variable);
    const std::filesystem::path folder = value == nullptr ? "" : value;
    if (folder.is_absolute()) return folder / below / "edge-export" / name;
  }
  return {};
}

}  // namespace edge
