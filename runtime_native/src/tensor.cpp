#include "tensor.h"

#include <algorithm>
#include <cmath>

namespace edge {
namespace {

template <typename Value>
Tensor tensor_of(const char* dtype, std::vector<int64_t> shape, const std::vector<Value>& values) {
  const auto* bytes = reinterpret_cast<const uint8_t*>(values.data());
  return {dtype, std::move(shape), {bytes, bytes + values.size() * sizeof(Value)}};
}

}  // namespace

bool Tensor::finite() const {
  return std::all_of(floats(), floats() + bytes.size() / sizeof(float), [](float value) { return std::isfinite(value); });
}

int64_t elements_of(const std::vector<int64_t>& shape) {
  int64_t elements = 1;
  for (const int64_t size : shape) elements *= size;
  return elements;
}

int64_t width_of(const std::string& dtype) { return dtype == "int64" ? 8 : dtype == "float16" ? 2 : 4; }

std::string form_of(const std::string& dtype, const std::vector<int64_t>& shape) {
  std::string sizes;
  for (const int64_t size : shape) sizes += (sizes.empty() ? "" : ", ") + std::to_string(size);
  return dtype + "[" + sizes + "]";
}

Tensor float_tensor(std::vector<int64_t> shape, const std::vector<float>& values) {
  return tensor_of("float32", std::move(shape), values);
}

Tensor int_tensor(std::vector<int64_t> shape, const std::vector<int32_t>& values) {
  return tensor_of("int32", std::move(shape), values);
}

Tensor slice(const Tensor& tensor, int64_t index) {
  Tensor part{tensor.dtype, tensor.shape, {}};
  const auto each = static_cast<std::ptrdiff_t>(tensor.bytes.size()) / tensor.shape[0];
  part.shape[0] = 1;
  part.bytes.assign(tensor.bytes.begin() + index * each, tensor.bytes.begin() + (index + 1) * each);
  return part;
}

Tensor stacked(const std::vector<Tensor>& parts) {
  Tensor whole = parts.front();
  whole.shape[0] = static_cast<int64_t>(parts.size());
  for (size_t index = 1; index < parts.size(); ++index) {
    whole.bytes.insert(whole.bytes.end(), parts[index].bytes.begin(), parts[index].bytes.end());
  }
  return whole;
}

}  // namespace edge
