#include "strict_json.h"

#include <set>
#include <stdexcept>
#include <vector>

namespace edge {

Json parse_json(const std::string& text) {
  if (text.compare(0, 3, "\xef\xbb\xbf") == 0) throw std::invalid_argument("begins with a byte order mark");
  std::vector<std::set<std::string>> keys;
  const auto watch = [&keys](int depth, Json::parse_event_t event, Json& parsed) {
    using Event = Json::parse_event_t;
    const bool opens = event == Event::object_start || event == Event::array_start;
    if (opens && depth >= kMaxDepth) throw std::invalid_argument("nested more than 64 deep");
    if (event == Event::object_start) keys.emplace_back();
    if (event == Event::object_end) keys.pop_back();
    if (event == Event::key && !keys.back().insert(parsed.get<std::string>()).second) {
      throw std::invalid_argument("gives '" + parsed.get<std::string>() + "' twice");
    }
    return true;
  };
  try {
    return Json::parse(text, watch);
  } catch (const Json::parse_error& error) {  // its own words repeat the file's bytes, which may be no text
    throw std::invalid_argument("does not go on as JSON at byte " + std::to_string(error.byte));
  } catch (const Json::exception& error) {
    throw std::invalid_argument(error.what());
  }
}

}  // namespace edge
