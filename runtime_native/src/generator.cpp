#include "generator.h"

#include <chrono>

#include "replay.h"

namespace edge {

Generator::Generator(const std::filesystem::path& folder, bool check) {
  const auto begun = std::chrono::steady_clock::now();
  bundle_ = open_bundle(folder, check);
  tokenizer_ = load_tokenizer(bundle_.path(bundle_.manifest.tokenizer));
  open_seconds_ = std::chrono::duration<double>(std::chrono::steady_clock::now() - begun).count();
}

Prompt Generator::encode(const Request& request) const {
  check_request(request, spec());
  return encode_prompt(tokenizer_, request, spec());
}

void Generator::generate(const OpenProgram& open_program, const Request& request, const OnEvent& on_event) const {
  edge::generate(spec(), open_program, request, encode(request), on_event);
}

void Generator::prove(const OpenProgram& open_program, const Tensors& golden, const OnEvent& on_event) const {
  replay(spec(), open_program, golden, spec().latent.samples(), on_event);
}

}  // namespace edge
