// From a prompt to audio: tokenizer, conditioner, dit steps, windows of the decoder, one event after each.
// It keeps what every stage took and made, by the names and in the layout of the golden vectors, and does not know what
// becomes of it.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "bundle.h"
#include "program.h"
#include "tokenizer.h"

namespace edge {

// What to generate; steps of 0 are the bundle's own.
struct Request {
  std::string prompt;
  double seconds = 0;
  uint64_t seed = 0;
  int steps = 0;
};

// A piece of work is done: step `index` of `count` of `stage`; seconds to load and to run; the most memory so far in it.
struct Event {
  std::string stage;
  int index = 0, count = 0;
  double load = 0, run = 0, peak_rss_mb = 0;
};

struct Generation {
  Tensors tensors;
  std::vector<Event> events;

  // float32 [channels, samples]
  const Tensor& audio() const { return tensors.at("audio"); }
  // Seconds until the first piece of the sound could be handed on.
  double first_audio() const;
};

using Heard = std::function<void(const Event&)>;

double default_seconds(const Manifest& manifest);

// UsageError for what the model cannot do: an empty or absurdly long prompt; seconds, steps or a seed out of range.
void check_request(const Request& request, const Manifest& manifest);

// UsageError when nothing of the prompt is left after normalisation.
Prompt encode_prompt(const Tokenizer& tokenizer, const Request& request, const Manifest& manifest);

// How many events there will be for so many seconds of sound.
int pieces(const Manifest& manifest, const Request& request, double seconds);

// Run the whole generation. A stage's program is loaded when its turn comes and let go when it is done.
// GenerationError when a program fails or returns NaN.
Generation generate(const Bundle& bundle, const Request& request, const Prompt& prompt, const Heard& heard);

// Give every stage the inputs that the golden vectors hold, so that one stage's error cannot hide in another's.
// The tensors are the golden ones, but for what the programs made of them.
Generation replay(const Bundle& bundle, const Tensors& golden, const Heard& heard);

// The request that the golden vectors were made from.
Request golden_request(const Manifest& manifest);

// The bundle's golden vectors, held against the manifest's shapes. BundleError when they were left out, or are others.
Tensors read_golden(const Bundle& bundle);

}  // namespace edge
