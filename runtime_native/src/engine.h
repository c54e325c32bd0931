// ExecuTorch, which no other file knows: runs the programs of a bundle. It does not know what their tensors mean.
#pragma once

#include "bundle.h"
#include "estimate.h"
#include "packed_weights.h"
#include "program.h"

namespace edge {

// Opens the bundle's own programs; each is mapped, and held against its interface. The bundle must outlive it.
// Weights are packed once and kept in `cache`, which must outlive it too, where there is one.
// BundleError when the bundle is of another backend; when a file is no program, or not the one the manifest describes.
OpenProgram bundle_programs(const Bundle& bundle, PackedWeights* cache);

// Where the packed weights of the bundle's programs will lie when they are opened so.
PackedOf packed_places(const Bundle& bundle, const PackedWeights* cache);

// CPU threads for every program opened from now on; 0 for as many as there are fast cores.
void set_threads(int threads);
int thread_count();

}  // namespace edge
