// Numbers with a dtype and a shape, little-endian and in C order. It knows no arithmetic.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace edge {

struct Tensor {
  std::string dtype;
  std::vector<int64_t> shape;
  std::vector<uint8_t> bytes;
};

using Tensors = std::map<std::string, Tensor>;

}  // namespace edge
