// Golden vectors: what the fp32 reference makes of one request, stage by stage, for every runtime to replay.
// The record of a run holds the same tensors under the same names: the table is in runtime_py/golden.py. It does not
// know how near is near enough.
#pragma once

#include "bundle.h"
#include "loop.h"

namespace edge {

// dtype and shape of every tensor of a run of so many steps and samples.
Layout layout(const GenerationSpec& spec, int64_t steps, int64_t samples);

// What the events of one generation took and made.
Tensors tensors_of(const GenerationSpec& spec, const Request& request, const Prompt& prompt, const Events& events);

// The bundle's golden vectors, held against the manifest's shapes. BundleError when they were left out, or are others.
Tensors read_golden(const Bundle& bundle);

}  // namespace edge
