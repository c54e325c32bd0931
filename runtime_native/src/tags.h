// What a WAV says of itself: the prompt, what made it, and how to make it again. The contract is runtime_py/tags.py's.
#pragma once

#include <string>

#include "finishing.h"
#include "request.h"

namespace edge {

// bundle: the sha256 of its manifest.json. request: nothing is left open.
struct Tags {
  std::string bundle;
  Request request;
  Finishing finishing;
};

// The RIFF chunk as it stands in a WAV after the data.
std::string info_chunk(const Tags& tags);

}  // namespace edge
