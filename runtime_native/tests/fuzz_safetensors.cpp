// libFuzzer: whatever bytes a safetensors file holds, it is read or refused with a BundleError, and every tensor of
// what is read has as many bytes as its shape says.
#include <cstdlib>

#include "errors.h"
#include "safetensors.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  try {
    const auto tensors = edge::parse_safetensors({reinterpret_cast<const char*>(data), size}, "golden.safetensors");
    for (const auto& [name, tensor] : tensors) {
      size_t count = 1;
      for (const int64_t length : tensor.shape) count *= static_cast<size_t>(length);
      if (count != 0 && tensor.bytes.size() % count != 0) std::abort();
    }
  } catch (const edge::BundleError&) {
  }
  return 0;
}
