// JSON from a stranger: no NaN, no key twice, no nesting deep enough to exhaust the stack, files of bounded size.
#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>

namespace edge {

using Json = nlohmann::json;

constexpr int kMaxDepth = 64;

// The document in `text`; std::invalid_argument, saying what, when it is not JSON or one of the above.
Json parse_json(const std::string& text);

// The bytes of a plain file of at most `most` bytes. BundleError when it is missing, larger, or cannot be read.
std::string read_file(const std::filesystem::path& path, uintmax_t most);

}  // namespace edge
