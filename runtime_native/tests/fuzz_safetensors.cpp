// Golden vectors from a stranger are read, or refused in one line; a tensor that was read is as large as its shape says.
// All tensors together are no larger than the file, so that a small file cannot exhaust the memory.
#include <cstdint>
#include <cstdlib>
#include <map>
#include <string>

#include "errors.h"
#include "refusal.h"
#include "safetensors.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const std::map<std::string, size_t> kWidths = {{"float32", 4}, {"float16", 2}, {"int32", 4}, {"int64", 8}};
  try {
    size_t total = 0;
    for (const auto& [name, tensor] : edge::parse_safetensors({reinterpret_cast<const char*>(data), size}, "golden.safetensors")) {
      size_t bytes = kWidths.at(tensor.dtype);
      for (const int64_t axis : tensor.shape) bytes *= static_cast<size_t>(axis);
      if (tensor.bytes.size() != bytes) std::abort();
      total += bytes;
    }
    if (total > size) std::abort();
  } catch (const edge::BundleError& error) {
    require_one_line(error);
  }
  return 0;
}
