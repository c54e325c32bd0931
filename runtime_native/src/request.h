// What to generate, and what a model can be asked for. It does not know how anything is computed.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "generation_spec.h"

namespace edge {

// One clip. Without `steps` they are the bundle's own; where a request is kept, they are a number.
struct Request {
  std::string prompt;
  double seconds = 0;
  int64_t seed = 0;
  std::optional<int64_t> steps;

  // The same request with nothing left open, as it is kept.
  Request resolved(const GenerationSpec& spec) const;
};

// 7 seconds, or the model's whole clip where that is shorter.
double default_seconds(const GenerationSpec& spec);

// UsageError for what the model cannot do: an empty or absurdly long prompt; seconds, steps or a seed out of range.
void check_request(const Request& request, const GenerationSpec& spec);

void read_fields(Fields& from, Request& into);

}  // namespace edge
