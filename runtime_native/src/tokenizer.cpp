#include "tokenizer.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <set>
#include <stdexcept>
#include <unordered_set>

#include "base64.h"
#include "errors.h"
#include "files.h"
#include "strict_json.h"

namespace edge {
namespace {

enum PieceKind { kNormal = 1, kUnknown = 2, kControl = 3, kUserDefined = 4, kUnused = 5 };

constexpr uintmax_t kMaxTokenizerBytes = 64 << 20;
constexpr size_t kMaxPieces = 1 << 20, kMaxPieceBytes = 512;
constexpr float kMaxScore = 1e9f;  // far from where float32 sums of scores would overflow
constexpr float kUnknownPenalty = 10.0f;
constexpr double kUserDefinedBonus = 0.1;
constexpr char kSpace[] = "\xe2\x96\x81";        // U+2581
constexpr char kReplacement[] = "\xef\xbf\xbd";  // U+FFFD

void expect(bool condition, const std::string& key, const std::string& problem) {
  if (!condition) throw std::invalid_argument(key + " " + problem);
}

bool continues(char byte) { return (static_cast<uint8_t>(byte) & 0xC0) == 0x80; }

// Bytes of the UTF-8 character that starts with `lead`; 0 inside one.
size_t character_bytes(char lead) {
  const auto byte = static_cast<uint8_t>(lead);
  return byte < 0x80 ? 1 : byte < 0xC0 ? 0 : byte < 0xE0 ? 2 : byte < 0xF0 ? 3 : 4;
}

size_t characters_in(std::string_view text) {
  return static_cast<size_t>(std::count_if(text.begin(), text.end(), [](char byte) { return !continues(byte); }));
}

// How many bytes at `start` are one well-formed character, or, negative, how many of a broken one belong together
// (the Unicode Standard 15, table 3-7 and section 3.9, "maximal subparts").
int well_formed(std::string_view data, size_t start) {
  const auto byte = [&](size_t offset) { return start + offset < data.size() ? static_cast<uint8_t>(data[start + offset]) : 0u; };
  const unsigned lead = byte(0);
  if (lead < 0x80) return 1;
  const int count = lead >= 0xC2 && lead <= 0xDF ? 2 : (lead & 0xF0) == 0xE0 ? 3 : lead >= 0xF0 && lead <= 0xF4 ? 4 : 0;
  if (count == 0) return -1;
  const unsigned least = lead == 0xE0 ? 0xA0 : lead == 0xF0 ? 0x90 : 0x80, most = lead == 0xED ? 0x9F : lead == 0xF4 ? 0x8F : 0xBF;
  for (int index = 1; index < count; ++index) {
    const unsigned next = byte(static_cast<size_t>(index));
    if (next < (index == 1 ? least : 0x80) || next > (index == 1 ? most : 0xBF)) return -index;
  }
  return count;
}

// `text`, with U+FFFD for every stretch that is no UTF-8.
std::string utf8(std::string_view text) {
  std::string made;
  for (size_t place = 0; place < text.size();) {
    const int bytes = well_formed(text, place);
    const auto count = static_cast<size_t>(std::abs(bytes));
    made += bytes > 0 ? text.substr(place, count) : kReplacement;
    place += count;
  }
  return made;
}

bool is_utf8(std::string_view data) { return utf8(data) == data; }

uint32_t offset_of(uint32_t unit) { return unit >> 10 << ((unit & 1u << 9) >> 6); }

std::string decoded_base64(const std::string& text) {
  const auto bytes = from_base64(text);
  expect(bytes.has_value(), "charsmap", "is not base64");
  return *bytes;
}

const Json& member(const Json& document, const std::string& key, Json::value_t type, const char* expected) {
  const auto found = document.find(key);
  expect(found != document.end(), key, "is missing");
  const bool integer = type == Json::value_t::number_integer && found->is_number_integer();
  expect(found->type() == type || integer, key, std::string("is ") + found->type_name() + ", expected " + expected);
  return *found;
}

template <typename Value>
std::vector<Value> items(const Json& document, const std::string& key, bool (Json::*fits)() const noexcept, const char* expected) {
  const Json& list = member(document, key, Json::value_t::array, "list");
  std::vector<Value> found;
  for (size_t index = 0; index < list.size(); ++index) {
    expect((list[index].*fits)(), key + "[" + std::to_string(index) + "]", std::string("is ") + list[index].type_name() + ", expected " + expected);
    found.push_back(list[index].get<Value>());
  }
  return found;
}

int64_t integer(const Json& document, const std::string& key) {
  const Json& value = member(document, key, Json::value_t::number_integer, "int");
  const bool fits = !value.is_number_unsigned() || value.get<uint64_t>() <= kMaxPieces;
  expect(fits, key, "is " + value.dump() + ", no piece's id");
  return value.get<int64_t>();
}

bool boolean(const Json& document, const std::string& key) {
  return member(document, key, Json::value_t::boolean, "bool").get<bool>();
}

Tokenizer read_document(const Json& document) {
  static const std::set<std::string> kKeys = {
      "format", "pieces", "scores", "types", "unk_id", "eos_id", "pad_id", "add_dummy_prefix", "remove_extra_whitespaces",
      "escape_whitespaces", "charsmap"};
  expect(document.is_object(), "the file", "is not a JSON object");
  expect(document.contains("format") && document["format"] == 1 && document["format"].is_number_integer(), "format",
          "is another than 1, which this edge-run reads");
  for (const auto& [key, value] : document.items()) expect(kKeys.count(key) != 0, key, "is not a key of this format");
  Tokenizer made;
  made.pieces = items<std::string>(document, "pieces", &Json::is_string, "str");
  for (const double score : items<double>(document, "scores", &Json::is_number, "float")) made.scores.push_back(static_cast<float>(score));
  for (const int64_t kind : items<int64_t>(document, "types", &Json::is_number_integer, "int")) {
    made.types.push_back(kind >= kNormal && kind <= kUnused ? static_cast<int>(kind) : 0);
  }
  made.unk_id = integer(document, "unk_id");
  made.eos_id = integer(document, "eos_id");
  made.pad_id = integer(document, "pad_id");
  made.add_dummy_prefix = boolean(document, "add_dummy_prefix");
  made.remove_extra_whitespaces = boolean(document, "remove_extra_whitespaces");
  made.escape_whitespaces = boolean(document, "escape_whitespaces");
  made.prepare(decoded_base64(member(document, "charsmap", Json::value_t::string, "str").get<std::string>()));
  return made;
}

}  // namespace

// A unit is 32 bits. Of a node: label (bits 0-7), whether a rule ends here (8), and how far its children are (offset in
// 10-30, times 256 where bit 9 is set): the child for byte b is at (node ^ offset) ^ b, and the rule's value in the unit
// at node ^ offset, whose bit 31 is set. A value is a place in the replacements.
Charsmap::Charsmap(const std::string& blob) {
  if (blob.empty()) return;
  const auto word = [&](size_t place) {
    uint32_t value = 0;
    for (size_t index = 4; index-- > 0;) value = value << 8 | static_cast<uint8_t>(blob[place + index]);
    return value;
  };
  expect(blob.size() >= 4, "charsmap", "is truncated");
  const size_t size = word(0);
  expect(size > 0 && size <= blob.size() - 4 && size % 4 == 0, "charsmap", "is truncated");
  for (size_t place = 4; place < 4 + size; place += 4) units_.push_back(word(place));
  replacements_ = blob.substr(4 + size);
  expect(units_[0] >> 31 == 0, "charsmap", "has no root");
  expect(replacements_.empty() || replacements_.back() == '\0', "charsmap", "does not end its last replacement");
  expect(is_utf8(replacements_), "charsmap", "holds broken UTF-8");
  for (size_t node = 0; node < units_.size(); ++node) {
    const uint32_t unit = units_[node];
    if (unit >> 31 != 0) continue;
    const size_t target = node ^ offset_of(unit);
    expect((target | 0xFF) < units_.size(), "charsmap", "points outside its trie");
    if ((unit >> 8 & 1) == 0) continue;
    const uint32_t value = units_[target] & 0x7FFFFFFF;
    expect(value < replacements_.size(), "charsmap", "points outside its replacements");
    expect(!continues(replacements_[value]), "charsmap", "holds broken UTF-8");
  }
}

size_t Charsmap::longest(std::string_view data, size_t start, std::string_view& replacement) const {
  if (units_.empty()) return 0;
  size_t matched = 0, value = 0, node = offset_of(units_[0]);
  for (size_t place = start; place < data.size(); ++place) {
    const auto byte = static_cast<uint8_t>(data[place]);
    node ^= byte;
    const uint32_t unit = units_[node];
    if ((unit & 0x800000FF) != byte) break;
    node ^= offset_of(unit);
    if (unit >> 8 & 1) {
      matched = place + 1 - start;
      value = units_[node] & 0x7FFFFFFF;
    }
  }
  if (matched) replacement = std::string_view(replacements_.c_str() + value);
  return matched;
}

void Tokenizer::prepare(const std::string& charsmap) {
  const size_t count = pieces.size();
  expect(count >= 1 && count <= kMaxPieces, "pieces", "has " + std::to_string(count) + " entries, expected 1 to 1048576");
  expect(scores.size() == count, "scores", "has another number of entries than pieces");
  expect(types.size() == count, "types", "has another number of entries than pieces");
  std::unordered_set<std::string_view> seen;
  float lowest = std::numeric_limits<float>::infinity();
  for (size_t index = 0; index < count; ++index) {
    const std::string& piece = pieces[index];
    const std::string place = "[" + std::to_string(index) + "]";
    const bool text = !piece.empty() && piece.size() <= kMaxPieceBytes && piece.find('\0') == std::string::npos;
    expect(text, "pieces" + place, "is empty, too long or no text");
    expect(seen.insert(piece).second, "pieces", "lists '" + piece + "' twice");
    expect(std::fabs(scores[index]) <= kMaxScore, "scores" + place, "is no log probability");
    expect(types[index] != 0, "types" + place, "is none of 1, 2, 3, 4, 5");
    expect((types[index] == kUnknown) == (static_cast<int64_t>(index) == unk_id), "unk_id", "is not the only piece of type unknown");
    const auto id = static_cast<int32_t>(index);
    if (types[index] == kNormal) {
      vocabulary_[piece] = {id, scores[index]};
      lowest = std::min(lowest, scores[index]);
    } else if (types[index] == kUserDefined) {  // wins against pieces, as in sentencepiece 0.2.3
      vocabulary_[piece] = {id, static_cast<float>(kUserDefinedBonus * static_cast<double>(piece.size() - 1))};
      user_defined_.push_back(piece);
    }
    if (types[index] == kNormal || types[index] == kUserDefined) longest_piece_ = std::max(longest_piece_, characters_in(piece));
  }
  for (const auto& [key, id] : {std::pair{"unk_id", unk_id}, {"eos_id", eos_id}, {"pad_id", pad_id}}) {
    expect(id >= 0 && id < static_cast<int64_t>(count), key, "is " + std::to_string(id) + ", no piece's id");
  }
  expect(std::isfinite(lowest), "types", "has no normal piece");
  unknown_score_ = lowest - kUnknownPenalty;
  std::stable_sort(user_defined_.begin(), user_defined_.end(), [](auto& a, auto& b) { return a.size() > b.size(); });
  charsmap_ = Charsmap(charsmap);
}

std::vector<int32_t> Tokenizer::encode(const std::string& text) const { return segment(normalize(text)); }

Prompt Tokenizer::encode_prompt(const std::string& text, int64_t length) const {
  if (length < 1) throw UsageError("a prompt of " + std::to_string(length) + " tokens cannot hold </s>; ask for 1 or more");
  const std::vector<int32_t> found = encode(text);
  const auto room = static_cast<size_t>(length), kept = std::min(found.size(), room - 1);
  Prompt prompt;
  prompt.ids.assign(found.begin(), found.begin() + static_cast<int64_t>(kept));
  prompt.ids.push_back(static_cast<int32_t>(eos_id));
  prompt.unknown = std::count(prompt.ids.begin(), prompt.ids.end(), static_cast<int32_t>(unk_id));
  prompt.tokens = static_cast<int64_t>(prompt.ids.size());
  prompt.dropped = static_cast<int64_t>(found.size() - kept);
  prompt.mask.assign(prompt.ids.size(), 1.0f);
  prompt.ids.resize(room, static_cast<int32_t>(pad_id));
  prompt.mask.resize(room, 0.0f);
  return prompt;
}

std::string Tokenizer::normalize(const std::string& text) const {
  if (text.empty()) return "";
  const std::string data = utf8(text);
  std::string made = add_dummy_prefix ? " " : "";
  bool after_space = remove_extra_whitespaces;
  for (size_t place = 0; place < data.size();) {
    size_t matched = user_defined_at(data, place);
    std::string_view part = std::string_view(data).substr(place, matched);
    if (matched == 0) matched = charsmap_.longest(data, place, part);
    if (matched == 0) {
      matched = character_bytes(data[place]);
      part = matched ? std::string_view(data).substr(place, matched) : kReplacement;
    }
    if (after_space) part.remove_prefix(std::min(part.find_first_not_of(' '), part.size()));
    if (!part.empty()) {
      made += part;
      after_space = remove_extra_whitespaces && part.back() == ' ';
    }
    place += std::max<size_t>(matched, 1);
  }
  const std::string mark = escape_whitespaces ? kSpace : " ";
  std::string spaced;
  for (const char byte : made) {
    if (byte == ' ') spaced += mark;
    else spaced += byte;
  }
  while (remove_extra_whitespaces && spaced.size() >= mark.size() && spaced.compare(spaced.size() - mark.size(), mark.size(), mark) == 0) {
    spaced.resize(spaced.size() - mark.size());
  }
  return spaced;
}

size_t Tokenizer::user_defined_at(std::string_view data, size_t position) const {
  for (const std::string& symbol : user_defined_) {
    if (data.compare(position, symbol.size(), symbol) == 0) return symbol.size();
  }
  return 0;
}

// Viterbi over character positions; a tie goes to the candidate found first, the piece that starts first. Sums are
// float32 after each piece, as sentencepiece keeps them, because that decides ties. A character that is no piece may
// stand alone as unknown.
std::vector<int32_t> Tokenizer::segment(std::string_view text) const {
  std::vector<size_t> starts;  // of characters, and the end
  for (size_t place = 0; place < text.size(); ++place) {
    if (!continues(text[place])) starts.push_back(place);
  }
  const size_t length = starts.size();
  starts.push_back(text.size());
  struct Best {
    float score = -std::numeric_limits<float>::infinity();
    size_t from = 0;
    int32_t piece = -1;
  };
  std::vector<Best> best(length + 1);
  best[0].score = 0;
  for (size_t start = 0; start < length; ++start) {
    for (size_t end = start + 1; end <= std::min(start + longest_piece_, length); ++end) {
      const auto found = vocabulary_.find(text.substr(starts[start], starts[end] - starts[start]));
      if (found == vocabulary_.end() && end > start + 1) continue;
      const Entry entry = found == vocabulary_.end() ? Entry{static_cast<int32_t>(unk_id), unknown_score_} : found->second;
      const float reached = best[start].score + entry.score;
      if (reached > best[end].score) best[end] = {reached, start, entry.id};
    }
  }
  std::vector<int32_t> ids;
  for (size_t place = length; place > 0; place = best[place].from) {
    const int32_t piece = best[place].piece;
    const bool repeated = piece == static_cast<int32_t>(unk_id) && !ids.empty() && ids.back() == piece;
    if (!repeated) ids.push_back(piece);  // neighbouring unknowns count as one
  }
  return {ids.rbegin(), ids.rend()};
}

Tokenizer load_tokenizer(const std::filesystem::path& path) { return parse_tokenizer(read_file(path, kMaxTokenizerBytes), path.string()); }

Tokenizer parse_tokenizer(const std::string& text, const std::string& name) {
  try {
    return read_document(parse_json(text));
  } catch (const std::invalid_argument& error) {
    throw BundleError(name + ": " + error.what() + "; rebuild the bundle");
  } catch (const Json::exception& error) {
    throw BundleError(name + ": " + error.what() + "; rebuild the bundle");
  }
}

}  // namespace edge
