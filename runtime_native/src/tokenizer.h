// Text to token ids: sentencepiece's unigram model, exactly, without sentencepiece.
// Normalises by the model's own charsmap, then takes the most probable segmentation (Kudo 2018, arXiv 1804.10959).
// Text like "</s>" is text: special tokens are never read out of a prompt. It knows no model beyond ids.
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace edge {

// A prompt as the conditioner takes it: ids and mask of one length.
// tokens: how many are the prompt's, </s> among them; dropped: tokens that did not fit; unknown: how many are <unk>.
struct Prompt {
  std::vector<int32_t> ids;
  std::vector<float> mask;
  int64_t tokens = 0, dropped = 0, unknown = 0;
};

// sentencepiece's precompiled normalisation rules: a darts-clone double array over UTF-8 bytes.
// Everything that a unit points to is checked when it is made, so that looking up never leaves it.
class Charsmap {
 public:
  Charsmap() = default;
  explicit Charsmap(const std::string& blob);  // std::invalid_argument when it is broken

  // How many bytes at `start` a rule matches, the longest; what they become is put into `replacement`. 0: no rule.
  size_t longest(std::string_view data, size_t start, std::string_view& replacement) const;

 private:
  std::vector<uint32_t> units_;
  std::string replacements_;
};

class Tokenizer {
 public:
  std::vector<std::string> pieces;
  std::vector<float> scores;
  std::vector<int> types;
  int64_t unk_id = 0, eos_id = 0, pad_id = 0;
  bool add_dummy_prefix = false, remove_extra_whitespaces = false, escape_whitespaces = false;

  Tokenizer() = default;
  Tokenizer(Tokenizer&&) = default;  // tables hold views into `pieces`, which moving leaves where they are
  Tokenizer& operator=(Tokenizer&&) = default;

  // Ids of `text` without </s>. Bytes that are no UTF-8 are U+FFFD.
  std::vector<int32_t> encode(const std::string& text) const;

  // Ids and mask of exactly `length`: at most length - 1 pieces, </s>, padding. UsageError when that is below 1.
  Prompt encode_prompt(const std::string& text, int64_t length) const;

  // Characters replaced by the charsmap, runs of spaces folded, spaces written as U+2581.
  std::string normalize(const std::string& text) const;

  // Ready the tables; std::invalid_argument, with the key, for what no text could be tokenized with.
  void prepare(const std::string& charsmap);

 private:
  struct Entry {
    int32_t id;
    float score;
  };
  size_t user_defined_at(std::string_view data, size_t position) const;
  std::vector<int32_t> segment(std::string_view text) const;

  Charsmap charsmap_;
  std::unordered_map<std::string_view, Entry> vocabulary_;  // views into `pieces`
  std::vector<std::string> user_defined_;                   // longest first
  size_t longest_piece_ = 0;                                // characters
  float unknown_score_ = 0;
};

// Read a tokenizer's JSON. BundleError when it is missing, of another format, or inconsistent: file and key are named.
Tokenizer load_tokenizer(const std::filesystem::path& path);

// The same from text, whose place is `name` in messages.
Tokenizer parse_tokenizer(const std::string& text, const std::string& name);

}  // namespace edge
