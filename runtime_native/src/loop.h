// The loop: conditioner, dit steps, pieces of sound from the decoder; an event after each piece of work.
// Progress, cancelling (a callback that throws) and recording stay outside. It does not know which engine runs a
// program, nor what becomes of the audio.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "generation_spec.h"
#include "program.h"
#include "request.h"
#include "sampler.h"
#include "tensor.h"
#include "tokenizer.h"

namespace edge {

// A piece of work is done: step `index` of `count` of `stage`, which took `load` + `run` seconds.
// tensors: what the conditioner made; the dit's "latent", "velocity" and "clean"; the decoder's "audio", the next
// samples as [channels, samples].
struct Event {
  std::string stage;
  int64_t index = 0, count = 0;
  double load = 0, run = 0;
  Tensors tensors;
};

using Events = std::vector<Event>;
using OnEvent = std::function<void(Event)>;

// The prompt as ids and mask; UsageError when nothing of it is left after normalisation.
Prompt encode_prompt(const Tokenizer& tokenizer, const Request& request, const GenerationSpec& spec);

// What the conditioner takes: "input_ids", "prompt_mask" and "seconds".
Tensors conditioner_inputs(const Request& request, const Prompt& prompt);

// Run the whole generation. Together the decoder's pieces are exactly the seconds asked for, and each is ready while
// the next is still to be decoded. A stage's programs are loaded when their turn comes and let go when it is done; the
// conditioner's outputs reach the dit by name, whatever they are. GenerationError when a program fails or returns NaN.
void generate(const GenerationSpec& spec, const OpenProgram& open_program, const Request& request, const Prompt& prompt,
              const OnEvent& on_event);

// Its last part: the first `samples` of the sound of `latent` [1, channels, length].
void decode(const GenerationSpec& spec, const OpenProgram& open_program, const Tensor& latent, int64_t samples,
            const OnEvent& on_event);

// How many events so many steps and samples make.
int64_t event_count(const GenerationSpec& spec, int64_t steps, int64_t samples);

// Draws of the latent's size, in the order torch.randn would make them from `seed`.
Noise latent_noise(const GenerationSpec& spec, int64_t seed);

// The sound that the decoder's events hold, [channels, samples].
Tensor joined_audio(const Events& events);

// Seconds until the first piece of the sound could be handed on: all but the decoder's later pieces.
double first_audio(const Events& events);

// A stage's programs: each loaded at its first run, timed, and let go with this object.
class Stage {
 public:
  Stage(std::string name, const OpenProgram& open_program, int64_t count = 1);

  // Run the program that is called as the stage is.
  Tensors run(const Tensors& inputs) { return run_program(event_.stage, inputs); }
  Tensors run_program(const std::string& role, const Tensors& inputs);
  // Hand on the event of the runs since the last one.
  void report(Tensors tensors, const OnEvent& on_event);
  int64_t index() const { return event_.index; }

 private:
  const OpenProgram& open_program_;
  std::map<std::string, std::unique_ptr<Program>> programs_;
  Event event_;
};

// What the dit makes of `latent` at `sigma`, given what the conditioner made.
Tensor velocity_of(Stage& dit, Tensor latent, float sigma, const Tensors& conditioning);

}  // namespace edge
