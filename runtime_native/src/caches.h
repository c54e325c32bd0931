// Where what can be made again is kept: one folder of the user's for all caches. It knows none of them.
#pragma once

#include <filesystem>
#include <string>

namespace edge {

// The user's cache called `name`, absolute, whether it exists or not; empty for a user without a home. An XDG_CACHE_HOME
// that is empty or relative does not count, as its specification says.
std::filesystem::path cache_folder(const std::string& name);

}  // namespace edge
