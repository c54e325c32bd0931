// A tokenizer from a stranger is read, or refused in one line; what was read gives ids of its own pieces for any text.
// Every input is tried as a file, as a charsmap, which base64 would hide from the fuzzer, and as a text.
#include <cstdint>
#include <cstdlib>
#include <stdexcept>
#include <string>

#include "errors.h"
#include "refusal.h"
#include "tokenizer.h"

namespace {

constexpr int64_t kLength = 8;
constexpr size_t kMostText = 512;
constexpr char kText[] = "aabb b<x> \xc3\xa9 \xef\xbd\x97 \xed\xa0\x80 \xe3\x81\xae \xf0\x9f\x8e\xb9 e\xcc\x81\t bbbb </s> abab";

void encode(const edge::Tokenizer& tokenizer, const std::string& text) {
  for (const int32_t id : tokenizer.encode(text)) {
    if (id < 0 || static_cast<size_t>(id) >= tokenizer.pieces.size()) std::abort();
  }
  const edge::Prompt prompt = tokenizer.encode_prompt(text, kLength);
  if (prompt.ids.size() != kLength || prompt.mask.size() != kLength || prompt.tokens < 1 || prompt.dropped < 0) std::abort();
}

void read_file(const std::string& data) {
  try {
    const edge::Tokenizer tokenizer = edge::parse_tokenizer(data, "tokenizer.json");
    encode(tokenizer, kText);
    encode(tokenizer, data.substr(0, kMostText));
  } catch (const edge::BundleError& error) {
    require_one_line(error);
  }
}

edge::Tokenizer of_few_pieces() {
  edge::Tokenizer made;
  made.pieces = {"<pad>", "</s>", "<unk>", "\xe2\x96\x81", "b", "c", "\xe2\x96\x81" "c", "<x>"};
  made.scores = {0.0f, 0.0f, 0.0f, -2.5f, -3.0f, -3.25f, -4.0f, 0.0f};
  made.types = {3, 3, 2, 1, 1, 1, 1, 4};
  made.unk_id = 2;
  made.eos_id = 1;
  made.add_dummy_prefix = made.remove_extra_whitespaces = made.escape_whitespaces = true;
  return made;
}

// parse_tokenizer makes a BundleError of what `prepare` throws.
void read_charsmap(const std::string& data) {
  edge::Tokenizer tokenizer = of_few_pieces();
  try {
    tokenizer.prepare(data);
  } catch (const std::invalid_argument& error) {
    require_one_line(error);
    return;
  }
  encode(tokenizer, kText);
}

void read_text(const std::string& data) {
  static const edge::Tokenizer kTokenizer = [] {
    edge::Tokenizer made = of_few_pieces();
    made.prepare("");
    return made;
  }();
  encode(kTokenizer, data.substr(0, kMostText));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string text(reinterpret_cast<const char*>(data), size);
  read_file(text);
  read_charsmap(text);
  read_text(text);
  return 0;
}
