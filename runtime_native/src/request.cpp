#include "request.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <string_view>

#include "audio.h"
#include "errors.h"
#include "random.h"
#include "schema.h"

namespace edge {
namespace {

constexpr int64_t kMaxPromptCharacters = 100'000;
constexpr double kDefaultSeconds = 7.0;

// Unicode's white space, as Python's str.strip() takes it, in UTF-8.
constexpr std::string_view kSpaces[] = {
    " ", "\t", "\n", "\v", "\f", "\r", "\x1c", "\x1d", "\x1e", "\x1f", "\xc2\x85", "\xc2\xa0", "\xe1\x9a\x80",
    "\xe2\x80\x80", "\xe2\x80\x81", "\xe2\x80\x82", "\xe2\x80\x83", "\xe2\x80\x84", "\xe2\x80\x85", "\xe2\x80\x86",
    "\xe2\x80\x87", "\xe2\x80\x88", "\xe2\x80\x89", "\xe2\x80\x8a", "\xe2\x80\xa8", "\xe2\x80\xa9", "\xe2\x80\xaf",
    "\xe2\x81\x9f", "\xe3\x80\x80"};

bool is_blank(std::string_view text) {
  while (!text.empty()) {
    const auto starts = [&](std::string_view space) { return text.substr(0, space.size()) == space; };
    const auto found = std::find_if(std::begin(kSpaces), std::end(kSpaces), starts);
    if (found == std::end(kSpaces)) return false;
    text.remove_prefix(found->size());
  }
  return true;
}

int64_t characters(const std::string& text) {
  return std::count_if(text.begin(), text.end(), [](char byte) { return (static_cast<unsigned char>(byte) & 0xC0) != 0x80; });
}

// `limit` in milliseconds, rounded down: a number that is accepted.
std::string shown_limit(double limit) {
  double whole = std::floor(limit * 1000);
  if (whole / 1000 > limit) --whole;
  char text[64];
  std::snprintf(text, sizeof text, "%.3f", whole / 1000);
  return text;
}

}  // namespace

Request Request::resolved(const GenerationSpec& spec) const {
  Request request = *this;
  request.steps = steps.value_or(spec.sampler.steps());
  return request;
}

double default_seconds(const GenerationSpec& spec) { return std::min(kDefaultSeconds, spec.seconds_limit()); }

void check_request(const Request& request, const GenerationSpec& spec) {
  if (is_blank(request.prompt)) {
    throw UsageError("the prompt is empty; say what to play, such as \"warm arpeggios on house beats\"");
  }
  if (const int64_t count = characters(request.prompt); count > kMaxPromptCharacters) {
    throw UsageError("the prompt has " + std::to_string(count) + " characters; the model reads " +
                     std::to_string(spec.conditioning.tokens) + " tokens: shorten it below 100000 characters");
  }
  const double limit = spec.seconds_limit();
  const std::string is = "seconds is " + brief(request.seconds) + ", ";
  if (!std::isfinite(request.seconds) || request.seconds <= 0) {
    throw UsageError(is + "expected a number above 0 and up to " + shown_limit(limit));
  }
  if (request.seconds > limit) {
    const bool differs = std::strtod(brief(request.seconds).c_str(), nullptr) > limit;
    throw UsageError("seconds is " + (differs ? brief(request.seconds) : shortest(request.seconds)) +
                     ", this model makes at most " + shown_limit(limit) + "; ask for less");
  }
  if (samples_in(request.seconds, spec.audio.sample_rate) < 1) throw UsageError(is + "less than one sample; ask for more");
  spec.sampler.schedule(request.steps);
  TorchRandom{request.seed};
}

void read_fields(Fields& from, Request& into) {
  from.read("prompt", into.prompt);
  from.read("seconds", into.seconds);
  from.read("seed", into.seed);
  from.read("steps", into.steps);
}

}  // namespace edge
