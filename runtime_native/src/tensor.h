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

  // Of float32 alone.
  float* floats() { return reinterpret_cast<float*>(bytes.data()); }
  const float* floats() const { return reinterpret_cast<const float*>(bytes.data()); }
  std::vector<float> to_vector() const { return {floats(), floats() + bytes.size() / sizeof(float)}; }
  bool finite() const;
};

using Tensors = std::map<std::string, Tensor>;

int64_t elements_of(const std::vector<int64_t>& shape);
// Bytes of one number of a dtype that a manifest may name.
int64_t width_of(const std::string& dtype);

// dtype and shape as text, such as "float32[1, 64, 16]": what is compared, and how messages write it.
std::string form_of(const std::string& dtype, const std::vector<int64_t>& shape);

Tensor float_tensor(std::vector<int64_t> shape, const std::vector<float>& values);
Tensor int_tensor(std::vector<int64_t> shape, const std::vector<int32_t>& values);

// Entry `index` of the first axis, as [1, ...].
Tensor slice(const Tensor& tensor, int64_t index);

// [1, ...] tensors along the first axis; there is at least one.
Tensor stacked(const std::vector<Tensor>& parts);

}  // namespace edge
