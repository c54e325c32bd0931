// All that a generation must know of a model: lengths, rates, the sampler, and what goes into and out of each program.
// A manifest contains one; so does whoever plays a network that was never compiled. It knows neither files nor backends.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "sampler.h"

namespace edge {

class Fields;

// The loop's stages in their order, each with the roles of its programs, which are loaded together. There is a
// decoder_tail where GenerationSpec::features say so.
struct StageRoles {
  std::string stage;
  std::vector<std::string> roles;
};
inline const std::vector<StageRoles> kStages = {
    {"conditioner", {"conditioner"}}, {"dit", {"dit"}}, {"decoder", {"decoder", "decoder_tail"}}};
// What programs are to the loop, in the order they run.
inline const std::vector<std::string> kRoles = {"conditioner", "dit", "decoder", "decoder_tail"};

// One input or output of a program. `position` is its place in the compiled program's own order.
struct TensorSpec {
  std::string name;
  int64_t position = 0;
  std::string dtype;
  std::vector<int64_t> shape;
};

// Names, each with its form (see form_of), in an order to read.
using Layout = std::vector<std::pair<std::string, std::string>>;
Layout layout_of(const std::vector<TensorSpec>& specs);

// What goes into a program and comes out of it, in the order of the reference's signature.
struct Interface {
  std::vector<TensorSpec> inputs, outputs;
};

// What the conditioner accepts: tokens of prompt, and the range that seconds are clamped to.
struct ConditioningSpec {
  int64_t tokens = 0;
  double seconds_min = 0, seconds_max = 0;
};

// (channels, length); the samples that one latent becomes; the latents on either side that a cut makes wrong.
struct LatentSpec {
  std::vector<int64_t> shape;
  int64_t hop = 0, margin = 0;
  int64_t channels() const { return shape[0]; }
  int64_t length() const { return shape[1]; }
  int64_t samples() const { return length() * hop; }
};

// What passes between the two programs of a decoder that is cut: features of one latent, and how many on either side a
// cut makes wrong.
struct FeaturesSpec {
  int64_t rate = 0, margin = 0;
};

// What the decoder makes: channels of float samples, full scale -1..1.
struct AudioSpec {
  int64_t sample_rate = 0, channels = 0;
};

// An entry of the table of samplers with its parameters, and the sigmas of the default steps.
struct SamplerSpec {
  std::string kind;
  Parameters parameters;
  std::vector<double> sigmas;

  int64_t steps() const { return static_cast<int64_t>(sigmas.size()) - 1; }
  const Sampler& sampler() const { return *find_sampler(kind); }
  // The sigmas above, or those of another number of steps by the same parameters. UsageError for steps out of range.
  std::vector<float> schedule(std::optional<int64_t> steps) const;
};

struct GenerationSpec {
  ConditioningSpec conditioning;
  LatentSpec latent;
  AudioSpec audio;
  SamplerSpec sampler;
  std::map<std::string, Interface> programs;  // by role
  std::optional<FeaturesSpec> features;       // of a decoder that is two programs, decoder and decoder_tail

  double seconds_of(int64_t samples) const { return static_cast<double>(samples) / static_cast<double>(audio.sample_rate); }
  // The longest clip: as long as the latent, and no longer than the conditioner's range.
  double seconds_limit() const;
  // Latents that the decoder takes at a time.
  int64_t window() const;
  // Features that the decoder's tail takes at a time, and samples that one becomes; of a decoder that has a tail.
  int64_t tile() const;
  int64_t tail_hop() const { return latent.hop / features->rate; }
  bool has(const std::string& role) const { return role != "decoder_tail" || features.has_value(); }
};

// For the strict reader: SchemaError, with the place in the document.
void read_fields(Fields& from, GenerationSpec& into);
void validate(const GenerationSpec& spec, const std::string& path);

}  // namespace edge
