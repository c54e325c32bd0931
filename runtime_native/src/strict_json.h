// JSON from a stranger: no NaN, no key twice, no nesting deep enough to exhaust the stack.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

namespace edge {

using Json = nlohmann::json;

constexpr int kMaxDepth = 64;

// The document in `text`; std::invalid_argument, saying what, when it is not JSON or one of the above.
Json parse_json(const std::string& text);

}  // namespace edge
