#include "generate.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <memory>

#include "audio.h"
#include "device.h"
#include "errors.h"
#include "random.h"
#include "safetensors.h"
#include "sampler.h"
#include "windows.h"

namespace edge {
namespace {

constexpr size_t kMostCharacters = 100'000;
constexpr double kDefaultSeconds = 7.0;

using Clock = std::chrono::steady_clock;

double since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

int64_t elements(const std::vector<int64_t>& shape) {
  int64_t count = 1;
  for (const int64_t size : shape) count *= size;
  return count;
}

const float* floats(const Tensor& tensor) { return reinterpret_cast<const float*>(tensor.bytes.data()); }

std::vector<float> to_vector(const Tensor& tensor) {
  return {floats(tensor), floats(tensor) + tensor.bytes.size() / sizeof(float)};
}

template <typename Value>
Tensor tensor_of(const char* dtype, std::vector<int64_t> shape, const Value* values) {
  const auto* bytes = reinterpret_cast<const uint8_t*>(values);
  const size_t size = static_cast<size_t>(elements(shape)) * sizeof(Value);
  return Tensor{dtype, std::move(shape), {bytes, bytes + size}};
}

Tensor float_tensor(std::vector<int64_t> shape, const float* values) {
  return tensor_of("float32", std::move(shape), values);
}

// Entry `index` of the first axis, as [1, ...].
Tensor slice(const Tensor& tensor, int64_t index) {
  std::vector<int64_t> shape = tensor.shape;
  const int64_t each = elements(shape) / shape[0];
  shape[0] = 1;
  return float_tensor(shape, floats(tensor) + index * each);
}

// [1, ...] tensors along the first axis.
Tensor stacked(const std::vector<Tensor>& parts) {
  Tensor whole = parts.front();
  whole.shape[0] = static_cast<int64_t>(parts.size());
  for (size_t index = 1; index < parts.size(); ++index) {
    whole.bytes.insert(whole.bytes.end(), parts[index].bytes.begin(), parts[index].bytes.end());
  }
  return whole;
}

bool finite(const Tensor& tensor) {
  const float* values = floats(tensor);
  return std::all_of(values, values + tensor.bytes.size() / sizeof(float), [](float value) { return std::isfinite(value); });
}

// One program: loaded at its first run, timed, and let go with this object.
class Stage {
 public:
  Stage(const Bundle& bundle, std::string name, int count, std::vector<Event>& events, const Heard& heard)
      : bundle_(bundle), events_(events), heard_(heard) {
    event_.stage = std::move(name);
    event_.count = count;
  }

  Tensors run(const Tensors& inputs) {
    event_.load = 0;
    if (!program_) {
      forget_peak_memory();
      const auto start = Clock::now();
      const ProgramSpec& spec = bundle_.manifest.program(event_.stage);
      program_ = std::make_unique<Program>(bundle_.path(spec), spec);
      event_.load = since(start);
    }
    const auto start = Clock::now();
    Tensors outputs = program_->run(inputs);
    event_.run = since(start);
    return outputs;
  }

  void done() {
    ++event_.index;
    event_.peak_rss_mb = peak_memory_mb();
    events_.push_back(event_);
    if (heard_) heard_(event_);
  }

 private:
  const Bundle& bundle_;
  std::vector<Event>& events_;
  const Heard& heard_;
  Event event_;
  std::unique_ptr<Program> program_;
};

std::vector<float> step_sigmas(const Manifest& manifest, int steps) {
  const SamplerSpec& sampler = manifest.sampler;
  if (steps == 0 || steps == sampler.steps()) return {sampler.sigmas.begin(), sampler.sigmas.end()};
  return sigmas(steps, sampler.logsnr[0], sampler.logsnr[1]);
}

Tensors condition(const Bundle& bundle, const Tensors& inputs, Generation& made, const Heard& heard) {
  Stage stage(bundle, "conditioner", 1, made.events, heard);
  Tensors taken;
  for (const TensorSpec& spec : bundle.manifest.program("conditioner").inputs) {
    const auto found = inputs.find(spec.name);
    if (found == inputs.end()) throw BundleError("nothing to give the conditioner as '" + spec.name + "'; rebuild the bundle");
    taken[spec.name] = found->second;
  }
  Tensors conditioning = stage.run(taken);
  stage.done();
  return conditioning;
}

// What the dit makes of `latent` at `sigma`, given what the conditioner made.
Tensor velocity(Stage& dit, const Tensor& latent, float sigma, const Tensors& conditioning) {
  Tensors inputs = conditioning;
  inputs["latent"] = latent;
  inputs["sigma"] = float_tensor({1}, &sigma);
  return dit.run(inputs).at("velocity");
}

std::vector<Window> decoder_windows(const Manifest& manifest, int64_t samples) {
  const LatentSpec& latent = manifest.latent;
  return windows(latent.length(), manifest.window(), latent.margin, (samples + latent.hop - 1) / latent.hop);
}

// The first `samples` of the sound of `latent` [1, channels, length], as [audio channels, samples].
Tensor decode(const Bundle& bundle, const Tensor& latent, int64_t samples, Generation& made, const Heard& heard) {
  const Manifest& manifest = bundle.manifest;
  const int64_t rows = manifest.latent.shape[0], length = manifest.latent.length(), width = manifest.window();
  const int64_t hop = manifest.latent.hop, channels = manifest.audio.channels;
  const auto todo = decoder_windows(manifest, samples);
  Stage decoder(bundle, "decoder", static_cast<int>(todo.size()), made.events, heard);
  std::vector<float> audio(static_cast<size_t>(channels * samples));
  for (const Window& part : todo) {
    std::vector<float> heard_part(static_cast<size_t>(rows * width));
    for (int64_t row = 0; row < rows; ++row) {
      std::copy_n(floats(latent) + row * length + part.start, width, heard_part.begin() + row * width);
    }
    const Tensor sound = decoder.run({{"latent", float_tensor({1, rows, width}, heard_part.data())}}).at("audio");
    const int64_t begin = part.first * hop, end = std::min(part.end * hop, samples), offset = part.start * hop;
    for (int64_t channel = 0; channel < channels; ++channel) {
      const float* from = floats(sound) + channel * width * hop + begin - offset;
      if (!std::all_of(from, from + end - begin, [](float value) { return std::isfinite(value); })) {
        throw GenerationError("the decoder returned NaN or infinity; run `edge-export verify` on the bundle");
      }
      std::copy_n(from, end - begin, audio.begin() + channel * samples + begin);
    }
    decoder.done();
  }
  return float_tensor({channels, samples}, audio.data());
}

void check_golden(const std::string& path, const Tensors& golden, const std::string& name, const std::string& dtype,
                  const std::vector<int64_t>& shape) {
  const auto found = golden.find(name);
  if (found == golden.end()) throw BundleError(path + ": " + name + " is missing; rebuild the bundle");
  if (found->second.dtype != dtype || found->second.shape != shape) {
    throw BundleError(path + ": " + name + " has another shape or dtype than the manifest says; rebuild the bundle");
  }
}

}  // namespace

double Generation::first_audio() const {
  double total = 0;
  for (const Event& event : events) {
    total += event.load + event.run;
    if (event.stage == "decoder") break;
  }
  return total;
}

double default_seconds(const Manifest& manifest) { return std::min(kDefaultSeconds, manifest.seconds_limit()); }

void check_request(const Request& request, const Manifest& manifest) {
  if (request.prompt.find_first_not_of(" \t\r\n\v\f") == std::string::npos) {
    throw UsageError("the prompt is empty; say what to play, such as --prompt \"warm arpeggios on house beats\"");
  }
  const auto characters = std::count_if(request.prompt.begin(), request.prompt.end(),
                                        [](char byte) { return (static_cast<unsigned char>(byte) & 0xC0) != 0x80; });
  if (static_cast<size_t>(characters) > kMostCharacters) {
    throw UsageError("the prompt has " + std::to_string(characters) + " characters; the model reads " +
                     std::to_string(manifest.conditioning.tokens) + " tokens: shorten it below 100000 characters");
  }
  const double limit = manifest.seconds_limit();
  char text[200];
  if (!std::isfinite(request.seconds) || request.seconds <= 0) {
    std::snprintf(text, sizeof text, "seconds is %g, expected a number above 0 and up to %.3f", request.seconds, limit);
    throw UsageError(text);
  }
  if (request.seconds > limit) {
    std::snprintf(text, sizeof text, "seconds is %g, this model makes at most %.3f; ask for less", request.seconds, limit);
    throw UsageError(text);
  }
  if (samples_in(request.seconds, manifest.audio.sample_rate) < 1) {
    std::snprintf(text, sizeof text, "seconds is %g, less than one sample; ask for more", request.seconds);
    throw UsageError(text);
  }
  step_sigmas(manifest, request.steps);
  TorchRandom{request.seed};
}

Prompt encode_prompt(const Tokenizer& tokenizer, const Request& request, const Manifest& manifest) {
  Prompt prompt = tokenizer.encode_prompt(request.prompt, manifest.conditioning.tokens);
  if (prompt.tokens <= 1) {  // only </s>
    throw UsageError("the prompt holds only spaces and control characters; say what to play in words");
  }
  return prompt;
}

int pieces(const Manifest& manifest, const Request& request, double seconds) {
  const int64_t samples = std::min(samples_in(seconds, manifest.audio.sample_rate), manifest.latent.samples());
  return static_cast<int>(step_sigmas(manifest, request.steps).size() + decoder_windows(manifest, samples).size());
}

Generation generate(const Bundle& bundle, const Request& request, const Prompt& prompt, const Heard& heard) {
  const Manifest& manifest = bundle.manifest;
  const std::vector<float> schedule = step_sigmas(manifest, request.steps);
  const int64_t steps = static_cast<int64_t>(schedule.size()) - 1, tokens = manifest.conditioning.tokens;
  const auto seconds = static_cast<float>(request.seconds);
  Generation made;
  made.tensors["input_ids"] = tensor_of("int32", {1, tokens}, prompt.ids.data());
  made.tensors["prompt_mask"] = float_tensor({1, tokens}, prompt.mask.data());
  made.tensors["seconds"] = float_tensor({1}, &seconds);
  made.tensors["sigmas"] = float_tensor({steps + 1}, schedule.data());
  const Tensors conditioning = condition(bundle, made.tensors, made, heard);
  made.tensors.insert(conditioning.begin(), conditioning.end());

  const std::vector<int64_t> shape = {1, manifest.latent.shape[0], manifest.latent.length()};
  TorchRandom random{request.seed};
  std::vector<Tensor> noise, latents, velocities;
  const auto draw = [&] {
    noise.push_back(float_tensor(shape, random.randn(static_cast<size_t>(elements(shape))).data()));
    return to_vector(noise.back());
  };
  {
    Stage dit(bundle, "dit", static_cast<int>(steps), made.events, heard);
    const auto step = [&](const std::vector<float>& latent, float sigma) {
      latents.push_back(float_tensor(shape, latent.data()));
      velocities.push_back(velocity(dit, latents.back(), sigma, conditioning));
      dit.done();
      return to_vector(velocities.back());
    };
    made.tensors["latent"] = float_tensor(shape, pingpong(step, draw, schedule).data());
  }
  made.tensors["noise"] = stacked(noise);
  made.tensors["step_latent"] = stacked(latents);
  made.tensors["step_velocity"] = stacked(velocities);
  const int64_t samples = samples_in(request.seconds, manifest.audio.sample_rate);
  made.tensors["audio"] = decode(bundle, made.tensors["latent"], samples, made, heard);
  return made;
}

Generation replay(const Bundle& bundle, const Tensors& golden, const Heard& heard) {
  const Manifest& manifest = bundle.manifest;
  Generation made;
  made.tensors = golden;
  Tensors conditioning;
  for (const TensorSpec& spec : manifest.program("conditioner").outputs) conditioning[spec.name] = golden.at(spec.name);
  for (auto& [name, tensor] : condition(bundle, golden, made, heard)) made.tensors[name] = tensor;
  {
    const Tensor &latents = golden.at("step_latent"), &schedule = golden.at("sigmas");
    Stage dit(bundle, "dit", static_cast<int>(latents.shape[0]), made.events, heard);
    std::vector<Tensor> velocities;
    for (int64_t index = 0; index < latents.shape[0]; ++index) {
      velocities.push_back(velocity(dit, slice(latents, index), floats(schedule)[index], conditioning));
      if (!finite(velocities.back())) {
        throw GenerationError("the dit returned NaN or infinity in step " + std::to_string(index + 1) +
                              "; run `edge-export verify`");
      }
      dit.done();
    }
    made.tensors["step_velocity"] = stacked(velocities);
  }
  made.tensors["audio"] = decode(bundle, golden.at("latent"), manifest.latent.samples(), made, heard);
  return made;
}

Request golden_request(const Manifest& manifest) {
  const GoldenSpec& golden = manifest.golden;
  return Request{golden.prompt, golden.seconds, static_cast<uint64_t>(golden.seed), static_cast<int>(golden.steps)};
}

Tensors read_golden(const Bundle& bundle) {
  const Manifest& manifest = bundle.manifest;
  const auto path = bundle.path(manifest.golden);
  if (!std::filesystem::exists(path)) {
    throw BundleError(path.string() + " was left out of this bundle, so nothing can be proven; copy it from the build");
  }
  Tensors golden = read_safetensors(path);
  const int64_t steps = manifest.golden.steps, channels = manifest.latent.shape[0], length = manifest.latent.length();
  for (const auto* specs : {&manifest.program("conditioner").inputs, &manifest.program("conditioner").outputs}) {
    for (const TensorSpec& spec : *specs) check_golden(path.string(), golden, spec.name, spec.dtype, spec.shape);
  }
  for (const char* name : {"noise", "step_latent", "step_velocity"}) {
    check_golden(path.string(), golden, name, "float32", {steps, channels, length});
  }
  check_golden(path.string(), golden, "sigmas", "float32", {steps + 1});
  check_golden(path.string(), golden, "latent", "float32", {1, channels, length});
  check_golden(path.string(), golden, "audio", "float32", {manifest.audio.channels, manifest.latent.samples()});
  return golden;
}

}  // namespace edge
