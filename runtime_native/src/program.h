// One compiled program: named tensors in, named tensors out. It knows neither engines nor what the tensors mean.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "tensor.h"

namespace edge {

class Program {
 public:
  virtual ~Program() = default;

  // Inputs by the names of its interface, all of them and no other, in those shapes and dtypes; the outputs are the
  // caller's. GenerationError when the inputs are others, or the program fails. One run at a time.
  virtual Tensors run(const Tensors& inputs) = 0;
};

// Loads the program of a role, one of kRoles (generation_spec.h).
using OpenProgram = std::function<std::unique_ptr<Program>(const std::string& role)>;

}  // namespace edge
