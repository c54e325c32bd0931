#include "replay.h"

#include "errors.h"

namespace edge {
namespace {

Tensors those_of(const std::vector<TensorSpec>& specs, const Tensors& tensors) {
  Tensors taken;
  for (const TensorSpec& spec : specs) taken[spec.name] = tensors.at(spec.name);
  return taken;
}

}  // namespace

void replay(const GenerationSpec& spec, const OpenProgram& open_program, const Tensors& tensors, int64_t samples,
            const OnEvent& on_event) {
  const Interface& interface = spec.programs.at("conditioner");
  {
    Stage conditioner("conditioner", open_program);
    conditioner.report(conditioner.run(those_of(interface.inputs, tensors)), on_event);
  }
  {
    const Tensors conditioning = those_of(interface.outputs, tensors);
    const Tensor &latents = tensors.at("step_latent"), &sigmas = tensors.at("sigmas");
    Stage dit("dit", open_program, latents.shape[0]);
    for (int64_t index = 0; index < latents.shape[0]; ++index) {
      Tensor velocity = velocity_of(dit, slice(latents, index), sigmas.floats()[index], conditioning);
      if (!velocity.finite()) {
        throw GenerationError("the dit returned NaN or infinity in step " + std::to_string(index + 1) +
                              "; run `edge-export verify`");
      }
      dit.report({{"velocity", std::move(velocity)}}, on_event);
    }
  }
  decode(spec, open_program, tensors.at("latent"), samples, on_event);
}

Tensors replayed(Tensors tensors, const Events& events) {
  std::vector<Tensor> velocities;
  for (const Event& event : events) {
    if (event.stage == "dit") velocities.push_back(event.tensors.at("velocity"));
    if (event.stage != "conditioner") continue;
    for (const auto& [name, tensor] : event.tensors) tensors[name] = tensor;
  }
  tensors["step_velocity"] = stacked(velocities);
  tensors["audio"] = joined_audio(events);
  return tensors;
}

}  // namespace edge
