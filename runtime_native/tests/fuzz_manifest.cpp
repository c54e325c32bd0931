// libFuzzer: whatever bytes a manifest holds, it is read or refused with a BundleError. The seal is checked last, so
// that everything before it is reached without one.
#include "errors.h"
#include "manifest.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  try {
    edge::parse_manifest({reinterpret_cast<const char*>(data), size});
  } catch (const edge::BundleError&) {
  }
  return 0;
}
