#include "golden.h"

#include <set>

#include "errors.h"
#include "safetensors.h"

namespace edge {
namespace {

void require_form(const std::string& path, const std::string& name, const std::string& found, const std::string& expected) {
  if (found == expected) return;
  throw BundleError(path + ": " + name.substr(0, 60) + " is " + found + ", expected " + expected + "; rebuild the bundle");
}

}  // namespace

Layout layout(const GenerationSpec& spec, int64_t steps, int64_t samples) {
  const Interface& conditioner = spec.programs.at("conditioner");
  const int64_t channels = spec.latent.channels(), length = spec.latent.length();
  Layout made = layout_of(conditioner.inputs);
  for (const auto& entry : layout_of(conditioner.outputs)) made.push_back(entry);
  for (const char* name : {"noise", "step_latent", "step_velocity"}) {
    made.emplace_back(name, form_of("float32", {steps, channels, length}));
  }
  made.emplace_back("sigmas", form_of("float32", {steps + 1}));
  made.emplace_back("latent", form_of("float32", {1, channels, length}));
  made.emplace_back("audio", form_of("float32", {spec.audio.channels, samples}));
  return made;
}

Tensors tensors_of(const GenerationSpec& spec, const Request& request, const Prompt& prompt, const Events& events) {
  const std::vector<float> sigmas = spec.sampler.schedule(request.steps);
  const auto steps = static_cast<int64_t>(sigmas.size()) - 1;
  Tensors made = conditioner_inputs(request, prompt);
  made["sigmas"] = float_tensor({steps + 1}, sigmas);
  std::vector<Tensor> noise, latents, velocities;
  const Noise draw = latent_noise(spec, request.seed);
  for (const Event& event : events) {
    if (event.stage == "conditioner") made.insert(event.tensors.begin(), event.tensors.end());
    if (event.stage != "dit") continue;
    noise.push_back(float_tensor({1, spec.latent.channels(), spec.latent.length()}, draw()));
    latents.push_back(event.tensors.at("latent"));
    velocities.push_back(event.tensors.at("velocity"));
    made["latent"] = event.tensors.at("clean");  // the last step's is the decoder's input
  }
  made["noise"] = stacked(noise);
  made["step_latent"] = stacked(latents);
  made["step_velocity"] = stacked(velocities);
  made["audio"] = joined_audio(events);
  return made;
}

Tensors read_golden(const Bundle& bundle) {
  const auto path = bundle.path(bundle.manifest.golden);
  if (!std::filesystem::exists(path)) {
    throw BundleError(path.string() + " was left out of this bundle, so nothing can be proven; copy it from the build");
  }
  const GenerationSpec& spec = bundle.manifest.generation;
  Tensors golden = read_safetensors(path);
  std::set<std::string> expected;
  for (const auto& [name, form] : layout(spec, *bundle.manifest.golden.request.steps, spec.latent.samples())) {
    const auto found = golden.find(name);
    require_form(path.string(), name, found == golden.end() ? "missing" : form_of(found->second.dtype, found->second.shape), form);
    expected.insert(name);
  }
  for (const auto& [name, tensor] : golden) {
    if (expected.count(name) == 0) require_form(path.string(), name, form_of(tensor.dtype, tensor.shape), "nothing of that name");
  }
  return golden;
}

}  // namespace edge
