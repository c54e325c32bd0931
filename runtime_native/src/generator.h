// A bundle opened: requests in, events out. What an app holds; it knows no command line, screen or loudspeaker.
#pragma once

#include "bundle.h"
#include "estimate.h"
#include "loop.h"

namespace edge {

class Generator {
 public:
  // Opens the bundle in `folder`, and reads its tokenizer. `check`: hash every file, whatever is known of it.
  // BundleError: no bundle, or one that is damaged or of another version.
  explicit Generator(const std::filesystem::path& folder, bool check = false);

  const Bundle& bundle() const { return bundle_; }
  const GenerationSpec& spec() const { return bundle_.manifest.generation; }
  double open_seconds() const { return open_seconds_; }

  // The request's prompt as the model reads it; UsageError for a request out of range.
  Prompt encode(const Request& request) const;

  // How much memory `request` will take, where the engine packs weights so.
  Estimate estimate(const Request& request, const PackedOf& packed_of) const {
    return estimate_request(bundle_.manifest, request, packed_of);
  }

  // Play `request`: an event after each piece of work; those of the decoder hold "audio", the next samples.
  // UsageError for a request out of range; GenerationError when a program fails or returns NaN.
  void generate(const OpenProgram& open_program, const Request& request, const OnEvent& on_event) const;

  // Replay the bundle's golden vectors (golden.h reads them): each program is given the reference's inputs, and the
  // whole clip is decoded. GenerationError as above.
  void prove(const OpenProgram& open_program, const Tensors& golden, const OnEvent& on_event) const;

 private:
  Bundle bundle_;
  Tokenizer tokenizer_;
  double open_seconds_ = 0;
};

}  // namespace edge
