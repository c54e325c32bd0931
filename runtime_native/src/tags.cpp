#include "tags.h"

#include <nlohmann/json.hpp>

#include "audio.h"
#include "errors.h"
#include "schema.h"

namespace edge {
namespace {

constexpr const char* kSoftware = "edge-export";

// JSON of `text`; what is no UTF-8 becomes U+FFFD, as in a record.
std::string quoted(const std::string& text) {
  return nlohmann::json(text).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

const char* word(bool value) { return value ? "true" : "false"; }

std::string comment_of(const Tags& tags) {
  const Request& request = tags.request;
  return "{\"bundle\":" + quoted(tags.bundle) + ",\"request\":{\"prompt\":" + quoted(request.prompt) +
         ",\"seconds\":" + shortest(request.seconds) + ",\"seed\":" + std::to_string(request.seed) +
         ",\"steps\":" + std::to_string(*request.steps) + "},\"finishing\":{\"normalize\":" + word(tags.finishing.normalize) +
         ",\"fade\":" + word(tags.finishing.fade) + "}}";
}

void append_text(std::string& body, const char* name, const std::string& text) {
  append_chunk(body, name, text + '\0');
}

}  // namespace

std::string info_chunk(const Tags& tags) {
  std::string body = "INFO";
  append_text(body, "INAM", one_line(nlohmann::json::parse(quoted(tags.request.prompt)).get<std::string>()));
  append_text(body, "ISFT", kSoftware);
  append_text(body, "ICMT", comment_of(tags));
  std::string chunk;
  append_chunk(chunk, "LIST", body);
  return chunk;
}

}  // namespace edge
