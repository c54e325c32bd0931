// Runs a bundle's programs on recorded inputs, so that one stage's error cannot hide in another's.
// It knows the tensors of a record or of golden vectors, not how near is near enough.
#pragma once

#include "loop.h"

namespace edge {

// Give every program the inputs that `tensors` hold; the decoder makes `samples` of sound.
// GenerationError when a program fails or returns NaN.
void replay(const GenerationSpec& spec, const OpenProgram& open_program, const Tensors& tensors, int64_t samples,
            const OnEvent& on_event);

// `tensors`, with what the programs made of them in place of what they held.
Tensors replayed(Tensors tensors, const Events& events);

}  // namespace edge
