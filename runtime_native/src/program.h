// A program of the bundle, run by ExecuTorch: named tensors in, named tensors out.
// It knows ExecuTorch, which no other file does, and nothing of what the tensors mean.
#pragma once

#include <filesystem>
#include <memory>
#include <string>

#include "manifest.h"
#include "tensor.h"

namespace edge {

class Program {
 public:
  // Maps the file and readies it to run. BundleError when it is no program, or not the one that the manifest describes.
  Program(const std::filesystem::path& path, const ProgramSpec& spec);
  ~Program();
  Program(const Program&) = delete;
  Program& operator=(const Program&) = delete;

  // Inputs by the manifest's names, all of them and no other, in its shapes and dtypes; the outputs are the caller's.
  // GenerationError when the program fails, UsageError when the inputs are others.
  Tensors run(const Tensors& inputs);

 private:
  struct Loaded;
  ProgramSpec spec_;
  std::unique_ptr<Loaded> loaded_;
};

// CPU threads for every program opened from now on; 0 leaves the choice to ExecuTorch.
void set_threads(int threads);
int thread_count();

}  // namespace edge
