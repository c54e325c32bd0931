#include "loop.h"

#include <algorithm>
#include <chrono>

#include "audio.h"
#include "errors.h"
#include "random.h"
#include "windows.h"

namespace edge {
namespace {

using Clock = std::chrono::steady_clock;

double since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

std::vector<Window> decoder_windows(const GenerationSpec& spec, int64_t samples) {
  const LatentSpec& latent = spec.latent;
  return windows(latent.length(), spec.window(), latent.margin, (samples + latent.hop - 1) / latent.hop);
}

// The tiles of a window's features that what is kept of it is decoded in, as far as the first `samples` go. Where a
// window is cut, its features are wrong; but nothing is kept within the latent's margin of there.
std::vector<Window> tail_tiles(const GenerationSpec& spec, const Window& part, int64_t samples) {
  const auto [rate, margin] = *spec.features;
  const int64_t hop = spec.tail_hop(), begin = part.start * rate;
  const int64_t end = std::min(part.end * rate, (samples + hop - 1) / hop);
  return windows(spec.window() * rate, spec.tile(), margin, end - begin, part.first * rate - begin);
}

// How many pieces the first `samples` are decoded in.
int64_t piece_count(const GenerationSpec& spec, int64_t samples) {
  const std::vector<Window> parts = decoder_windows(spec, samples);
  if (!spec.features) return static_cast<int64_t>(parts.size());
  size_t count = 0;
  for (const Window& part : parts) count += tail_tiles(spec, part, samples).size();
  return static_cast<int64_t>(count);
}

// Entries [first, end) of each row of [..., rows, length].
std::vector<float> columns(const Tensor& tensor, int64_t rows, int64_t first, int64_t end) {
  const int64_t length = tensor.shape.back();
  std::vector<float> kept;
  kept.reserve(static_cast<size_t>(rows * (end - first)));
  for (int64_t row = 0; row < rows; ++row) {
    const float* from = tensor.floats() + row * length;
    kept.insert(kept.end(), from + first, from + end);
  }
  return kept;
}

Tensors condition(const OpenProgram& open_program, const Tensors& inputs, const OnEvent& on_event) {
  Stage conditioner("conditioner", open_program);
  Tensors conditioning = conditioner.run(inputs);
  conditioner.report(conditioning, on_event);
  return conditioning;
}

// The dit's steps from noise; the clean latent [1, channels, length].
Tensor denoise(const GenerationSpec& spec, const OpenProgram& open_program, const Request& request,
               const Tensors& conditioning, const OnEvent& on_event) {
  const std::vector<float> schedule = spec.sampler.schedule(request.steps);
  const std::vector<int64_t> shape = {1, spec.latent.channels(), spec.latent.length()};
  Stage dit("dit", open_program, static_cast<int64_t>(schedule.size()) - 1);
  const auto velocity = [&](const std::vector<float>& latent, float sigma) {
    return velocity_of(dit, float_tensor(shape, latent), sigma, conditioning).to_vector();
  };
  const auto on_step = [&](const Step& step) {
    dit.report({{"latent", float_tensor(shape, step.latent)},
                {"velocity", float_tensor(shape, step.velocity)},
                {"clean", float_tensor(shape, step.clean)}},
               on_event);
  };
  const Noise noise = latent_noise(spec, request.seed);
  return float_tensor(shape, spec.sampler.sampler().run(velocity, noise(), noise, schedule, on_step));
}

}  // namespace

Prompt encode_prompt(const Tokenizer& tokenizer, const Request& request, const GenerationSpec& spec) {
  Prompt prompt = tokenizer.encode_prompt(request.prompt, spec.conditioning.tokens);
  if (prompt.tokens <= 1) {  // only </s>
    throw UsageError("the prompt holds only spaces and control characters; say what to play in words");
  }
  return prompt;
}

Tensors conditioner_inputs(const Request& request, const Prompt& prompt) {
  const auto tokens = static_cast<int64_t>(prompt.ids.size());
  return {{"input_ids", int_tensor({1, tokens}, prompt.ids)},
          {"prompt_mask", float_tensor({1, tokens}, prompt.mask)},
          {"seconds", float_tensor({1}, {static_cast<float>(request.seconds)})}};
}

void generate(const GenerationSpec& spec, const OpenProgram& open_program, const Request& request, const Prompt& prompt,
              const OnEvent& on_event) {
  const Tensors conditioning = condition(open_program, conditioner_inputs(request, prompt), on_event);
  const Tensor latent = denoise(spec, open_program, request, conditioning, on_event);
  decode(spec, open_program, latent, samples_in(request.seconds, spec.audio.sample_rate), on_event);
}

void decode(const GenerationSpec& spec, const OpenProgram& open_program, const Tensor& latent, int64_t samples,
            const OnEvent& on_event) {
  const int64_t rows = spec.latent.channels(), width = spec.window();
  Stage decoder("decoder", open_program, piece_count(spec, samples));
  int64_t made = 0;
  const auto hand_on = [&](const Tensor& audio, const Window& part, int64_t hop) {
    const int64_t begin = (part.first - part.start) * hop, end = (part.end - part.start) * hop;
    const int64_t kept = std::min(end - begin, samples - made);
    Tensor piece = float_tensor({spec.audio.channels, kept}, columns(audio, spec.audio.channels, begin, begin + kept));
    if (!piece.finite()) {
      throw GenerationError("the decoder returned NaN or infinity; run `edge-export verify` on the bundle");
    }
    made += kept;
    decoder.report({{"audio", std::move(piece)}}, on_event);
  };
  for (const Window& part : decoder_windows(spec, samples)) {
    const Tensor taken = float_tensor({1, rows, width}, columns(latent, rows, part.start, part.start + width));
    const Tensors found = decoder.run({{"latent", taken}});
    if (!spec.features) {
      hand_on(found.at("audio"), part, spec.latent.hop);
      continue;
    }
    const Tensor& features = found.at("features");
    const int64_t channels = features.shape[1], length = spec.tile();
    for (const Window& tile : tail_tiles(spec, part, samples)) {
      Tensor given = float_tensor({1, channels, length}, columns(features, channels, tile.start, tile.start + length));
      const Tensors sound = decoder.run_program("decoder_tail", {{"features", std::move(given)}});
      hand_on(sound.at("audio"), tile, spec.tail_hop());
    }
  }
}

int64_t event_count(const GenerationSpec& spec, int64_t steps, int64_t samples) {
  return 1 + steps + piece_count(spec, samples);
}

Noise latent_noise(const GenerationSpec& spec, int64_t seed) {
  const auto count = static_cast<size_t>(spec.latent.channels() * spec.latent.length());
  return [random = TorchRandom(seed), count]() mutable { return random.randn(count); };
}

Tensor joined_audio(const Events& events) {
  std::vector<const Tensor*> pieces;
  int64_t samples = 0;
  for (const Event& event : events) {
    if (event.stage != "decoder") continue;
    pieces.push_back(&event.tensors.at("audio"));
    samples += pieces.back()->shape[1];
  }
  const int64_t channels = pieces.front()->shape[0];
  std::vector<float> audio;
  audio.reserve(static_cast<size_t>(channels * samples));
  for (int64_t channel = 0; channel < channels; ++channel) {
    for (const Tensor* piece : pieces) {
      const float* from = piece->floats() + channel * piece->shape[1];
      audio.insert(audio.end(), from, from + piece->shape[1]);
    }
  }
  return float_tensor({channels, samples}, audio);
}

double first_audio(const Events& events) {
  double total = 0;
  for (const Event& event : events) {
    total += event.load + event.run;
    if (event.stage == "decoder") break;
  }
  return total;
}

Stage::Stage(std::string name, const OpenProgram& open_program, int64_t count) : open_program_(open_program) {
  event_.stage = std::move(name);
  event_.count = count;
}

Tensors Stage::run_program(const std::string& role, const Tensors& inputs) {
  std::unique_ptr<Program>& program = programs_[role];
  if (!program) {
    const auto start = Clock::now();
    program = open_program_(role);
    event_.load += since(start);
  }
  const auto start = Clock::now();
  Tensors outputs = program->run(inputs);
  event_.run += since(start);
  return outputs;
}

void Stage::report(Tensors tensors, const OnEvent& on_event) {
  ++event_.index;
  Event event = event_;
  event.tensors = std::move(tensors);
  event_.load = event_.run = 0;
  on_event(std::move(event));
}

Tensor velocity_of(Stage& dit, Tensor latent, float sigma, const Tensors& conditioning) {
  Tensors inputs = conditioning;
  inputs["latent"] = std::move(latent);
  inputs["sigma"] = float_tensor({1}, {sigma});
  return dit.run(inputs).at("velocity");
}

}  // namespace edge
