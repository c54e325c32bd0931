#include "generation_spec.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <set>

#include "schema.h"
#include "tensor.h"

namespace edge {
namespace {

constexpr int64_t kMaxElements = int64_t{1} << 31, kMaxPosition = 1 << 20;
constexpr double kSigmaError = 1e-6;

void require_shape(const std::vector<int64_t>& shape, const std::string& path) {
  int64_t elements = 1;
  for (const int64_t size : shape) require(size >= 1, path, "has a size below 1");
  for (const int64_t size : shape) {
    require(size <= kMaxElements / elements, path, "is too large to be true");
    elements *= size;
  }
}

// The order in a list of tensors is not their position, and so means nothing here.
void require_layout(const std::vector<TensorSpec>& specs, const Layout& expected, const std::string& path) {
  Layout found = layout_of(specs), wanted = expected;
  std::sort(found.begin(), found.end());
  std::sort(wanted.begin(), wanted.end());
  std::vector<std::string> words;
  for (const auto& [name, form] : expected) words.push_back(name + " " + form);
  require(found == wanted, path, "are not " + joined(words));
}

void require_positions(const std::vector<TensorSpec>& specs, const std::string& path) {
  require(!specs.empty(), path, "is empty");
  std::set<std::string> names;
  std::set<int64_t> positions;
  for (const TensorSpec& spec : specs) {
    require(names.insert(spec.name).second, path, "names a tensor twice");
    positions.insert(spec.position);
  }
  const auto count = static_cast<int64_t>(specs.size());
  require(static_cast<int64_t>(positions.size()) == count && *positions.rbegin() == count - 1, path,
          "positions are not 0, 1, 2, ... each once");
}

void require_conditioner(const GenerationSpec& spec, const std::string& path) {
  const std::vector<int64_t> tokens = {1, spec.conditioning.tokens};
  require_layout(spec.programs.at("conditioner").inputs,
                 {{"input_ids", form_of("int32", tokens)},
                  {"prompt_mask", form_of("float32", tokens)},
                  {"seconds", form_of("float32", {1})}},
                 path + ".inputs");
}

void require_dit(const GenerationSpec& spec, const std::string& path) {
  const std::string latent = form_of("float32", {1, spec.latent.channels(), spec.latent.length()});
  Layout inputs = {{"latent", latent}, {"sigma", form_of("float32", {1})}};
  for (const auto& made : layout_of(spec.programs.at("conditioner").outputs)) inputs.push_back(made);
  require_layout(spec.programs.at("dit").inputs, inputs, path + ".inputs");
  require_layout(spec.programs.at("dit").outputs, {{"velocity", latent}}, path + ".outputs");
}

Layout audio_of(const GenerationSpec& spec, int64_t samples) {
  return {{"audio", form_of("float32", {1, spec.audio.channels, samples})}};
}

// The shape (1, channels, length) of the input `name` of a program.
const std::vector<int64_t>& length_axis(const GenerationSpec& spec, const std::string& role, const std::string& name) {
  const std::string path = "generation.programs." + role + ".inputs";
  for (const TensorSpec& tensor : spec.programs.at(role).inputs) {
    if (tensor.name != name) continue;
    require(tensor.shape.size() == 3, path + "." + name + ".shape", "is not (1, channels, length)");
    return tensor.shape;
  }
  throw SchemaError(path, "has no '" + name + "'");
}

void require_decoder(const GenerationSpec& spec, const std::string& path) {
  const int64_t window = spec.window(), length = spec.latent.length();
  const bool fits = window == length || (window < length && window > 2 * spec.latent.margin);
  require(fits, path + ".inputs.latent.shape", "is neither the whole clip nor wider than its margins");
  const Interface& decoder = spec.programs.at("decoder");
  require_layout(decoder.inputs, {{"latent", form_of("float32", {1, spec.latent.channels(), window})}}, path + ".inputs");
  if (spec.features) return;
  require_layout(decoder.outputs, audio_of(spec, window * spec.latent.hop), path + ".outputs");
}

// What the decoder makes is held against what its tail takes.
void require_tail(const GenerationSpec& spec, const std::string& path) {
  const auto [rate, margin] = *spec.features;
  require(spec.latent.hop % rate == 0, path + ".features.rate", "does not divide latent.hop");
  require(margin <= spec.latent.margin * rate, path + ".features.margin", "reaches beyond latent.margin");
  const std::string decoder = path + ".programs.decoder", tail = path + ".programs.decoder_tail";
  const std::vector<int64_t>& shape = length_axis(spec, "decoder_tail", "features");
  const int64_t channels = shape[1], tile = shape[2], made = spec.window() * rate;
  const bool fits = tile == made || (tile < made && tile > 2 * margin);
  require(fits, tail + ".inputs.features.shape", "is neither the whole window nor wider than its margins");
  const auto features = [&](int64_t length) -> Layout { return {{"features", form_of("float32", {1, channels, length})}}; };
  require_layout(spec.programs.at("decoder").outputs, features(made), decoder + ".outputs");
  require_layout(spec.programs.at("decoder_tail").inputs, features(tile), tail + ".inputs");
  require_layout(spec.programs.at("decoder_tail").outputs, audio_of(spec, tile * spec.tail_hop()), tail + ".outputs");
}

}  // namespace

Layout layout_of(const std::vector<TensorSpec>& specs) {
  Layout layout;
  for (const TensorSpec& spec : specs) layout.emplace_back(spec.name, form_of(spec.dtype, spec.shape));
  return layout;
}

void read_fields(Fields& from, TensorSpec& into) {
  from.read("name", into.name);
  from.read("position", into.position);
  from.read("dtype", into.dtype);
  from.read("shape", into.shape);
}

void validate(const TensorSpec& spec, const std::string& path) {
  static const std::vector<std::string> kDtypes = {"float32", "float16", "int32", "int64"};
  require(!spec.name.empty(), path + ".name", "is empty");
  const bool known = std::find(kDtypes.begin(), kDtypes.end(), spec.dtype) != kDtypes.end();
  require(known, path + ".dtype", in_quotes(spec.dtype) + " is none of " + joined(kDtypes));
  require(spec.position >= 0, path + ".position", "is negative");
  require(spec.position <= kMaxPosition, path + ".position", "is too large to be true");
  require_shape(spec.shape, path + ".shape");
}

void read_fields(Fields& from, Interface& into) {
  from.read("inputs", into.inputs);
  from.read("outputs", into.outputs);
}

void validate(const Interface& spec, const std::string& path) {
  require_positions(spec.inputs, path + ".inputs");
  require_positions(spec.outputs, path + ".outputs");
}

void read_fields(Fields& from, ConditioningSpec& into) {
  from.read("tokens", into.tokens);
  from.read("seconds_min", into.seconds_min);
  from.read("seconds_max", into.seconds_max);
}

void validate(const ConditioningSpec& spec, const std::string& path) {
  require(spec.tokens >= 1 && spec.tokens <= 4096, path + ".tokens", "is out of bounds");
  const bool ordered = std::isfinite(spec.seconds_min) && std::isfinite(spec.seconds_max) && spec.seconds_min < spec.seconds_max;
  require(ordered, path + ".seconds_max", "must be finite and above seconds_min");
}

void read_fields(Fields& from, LatentSpec& into) {
  from.read("shape", into.shape);
  from.read("hop", into.hop);
  from.read("margin", into.margin);
}

void validate(const LatentSpec& spec, const std::string& path) {
  const bool pair = spec.shape.size() == 2 && spec.shape[0] >= 1 && spec.shape[1] >= 1;
  require(pair, path + ".shape", "must be (channels, length), both above 0");
  require_shape(spec.shape, path + ".shape");
  require(spec.hop >= 1 && spec.hop <= 1 << 20, path + ".hop", "is out of bounds");
  require(spec.margin >= 0 && spec.margin <= 1 << 20, path + ".margin", "is out of bounds");
}

void read_fields(Fields& from, FeaturesSpec& into) {
  from.read("rate", into.rate);
  from.read("margin", into.margin);
}

void validate(const FeaturesSpec& spec, const std::string& path) {
  require(spec.rate >= 1 && spec.rate <= 1 << 20, path + ".rate", "is out of bounds");
  require(spec.margin >= 0 && spec.margin <= 1 << 20, path + ".margin", "is out of bounds");
}

void read_fields(Fields& from, AudioSpec& into) {
  from.read("sample_rate", into.sample_rate);
  from.read("channels", into.channels);
}

void validate(const AudioSpec& spec, const std::string& path) {
  require(spec.sample_rate >= 1 && spec.sample_rate <= 768'000, path + ".sample_rate", "is out of bounds");
  require(spec.channels >= 1 && spec.channels <= 64, path + ".channels", "is out of bounds");
}

void read_fields(Fields& from, SamplerSpec& into) {
  from.read("kind", into.kind);
  from.read("parameters", into.parameters);
  from.read("sigmas", into.sigmas);
}

void validate(const SamplerSpec& spec, const std::string& path) {
  std::vector<std::string> known, wanted;
  for (const Sampler& sampler : samplers()) known.push_back(in_quotes(sampler.kind));
  const Sampler* sampler = find_sampler(spec.kind);
  require(sampler != nullptr, path + ".kind", in_quotes(spec.kind) + " is not known; expected " + joined(known));
  const std::string problem = problem_of(*sampler, spec.parameters);
  require(problem.empty(), path + ".parameters", problem);
  const std::vector<double>& found = spec.sigmas;
  require(found.size() >= 2 && found.size() <= kMaxSteps + 1, path + ".sigmas", "needs 2 to 1001 values");
  const bool falling = std::adjacent_find(found.begin(), found.end(), [](double a, double b) { return !(a > b); }) == found.end();
  require(falling && found.front() == 1.0 && found.back() == 0.0, path + ".sigmas", "must fall from 1 to 0");
  const std::vector<float> made = sampler->sigmas(spec.steps(), 1, spec.parameters);
  for (const auto& [name, value] : sampler->defaults) wanted.push_back(name + " " + brief(spec.parameters.at(name)));
  for (size_t index = 0; index < made.size(); ++index) {
    require(std::fabs(found[index] - static_cast<double>(made[index])) <= kSigmaError, path + ".sigmas",
            "are not those of " + std::to_string(spec.steps()) + " steps with " + joined(wanted));
  }
}

void read_fields(Fields& from, GenerationSpec& into) {
  from.read("conditioning", into.conditioning);
  from.read("latent", into.latent);
  from.read("audio", into.audio);
  from.read("sampler", into.sampler);
  from.read("programs", into.programs);
  from.read("features", into.features);
}

void validate(const GenerationSpec& spec, const std::string& path) {
  const std::string programs = path + ".programs";
  std::vector<std::string> roles;
  std::copy_if(kRoles.begin(), kRoles.end(), std::back_inserter(roles), [&](const auto& role) { return spec.has(role); });
  for (const std::string& role : roles) require(spec.programs.count(role) != 0, programs + "." + role, "is missing");
  for (const auto& [role, interface] : spec.programs) {
    const bool known = std::find(roles.begin(), roles.end(), role) != roles.end();
    require(known, programs + "." + role, "is no role; expected " + joined(roles));
  }
  require_conditioner(spec, programs + ".conditioner");
  require_dit(spec, programs + ".dit");
  require_decoder(spec, programs + ".decoder");
  if (spec.features) require_tail(spec, path);
}

std::vector<float> SamplerSpec::schedule(std::optional<int64_t> wanted) const {
  if (!wanted || *wanted == steps()) return {sigmas.begin(), sigmas.end()};
  return sampler().sigmas(*wanted, 1, parameters);
}

double GenerationSpec::seconds_limit() const {
  return std::min(seconds_of(latent.samples()), conditioning.seconds_max);
}

int64_t GenerationSpec::window() const { return length_axis(*this, "decoder", "latent")[2]; }

int64_t GenerationSpec::tile() const { return length_axis(*this, "decoder_tail", "features")[2]; }

}  // namespace edge
