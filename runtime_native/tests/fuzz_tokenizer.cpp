// libFuzzer: whatever bytes a tokenizer holds, it is refused with a BundleError, or it loads and then takes any text.
#include "errors.h"
#include "tokenizer.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string bytes(reinterpret_cast<const char*>(data), size);
  try {
    const edge::Tokenizer tokenizer = edge::parse_tokenizer(bytes, "tokenizer.json");
    tokenizer.encode("aabb b<x> \xc3\xa9 \xe3\x81\xae \xed\xa0\x80 \xff bbbb abab");
    tokenizer.encode_prompt(bytes.substr(0, 256), 64);
  } catch (const edge::BundleError&) {
  }
  return 0;
}
