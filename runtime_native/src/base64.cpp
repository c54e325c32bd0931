#include "base64.h"

#include <algorithm>

namespace edge {
namespace {

constexpr std::string_view kDigits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
constexpr size_t kBytes = 3, kGroup = 4;  // so many bytes are so many digits

}  // namespace

std::string to_base64(std::string_view bytes) {
  std::string text;
  text.reserve((bytes.size() + 2) / kBytes * kGroup);
  for (size_t start = 0; start < bytes.size(); start += kBytes) {
    const size_t left = std::min(kBytes, bytes.size() - start);
    uint32_t group = 0;
    for (size_t index = 0; index < kBytes; ++index) {
      group = group << 8 | (index < left ? static_cast<uint8_t>(bytes[start + index]) : 0u);
    }
    for (size_t digit = 0; digit < kGroup; ++digit) text += digit <= left ? kDigits[group >> (18 - 6 * digit) & 63] : '=';
  }
  return text;
}

std::optional<std::string> from_base64(std::string_view text) {
  if (text.size() % kGroup != 0) return std::nullopt;
  std::string bytes;
  uint32_t group = 0;
  for (size_t index = 0; index < text.size(); ++index) {
    const size_t digit = kDigits.find(text[index]);
    const bool padding = text[index] == '=' && (index + 1 == text.size() || (index + 2 == text.size() && text[index + 1] == '='));
    if (digit == std::string_view::npos && !padding) return std::nullopt;
    group = group << 6 | (padding ? 0u : static_cast<uint32_t>(digit));
    if (index % kGroup != kGroup - 1) continue;
    for (int shift = 16; shift >= 0; shift -= 8) bytes += static_cast<char>(group >> shift & 0xFF);
    group = 0;
  }
  for (size_t index = text.size(); index > 0 && text[index - 1] == '='; --index) bytes.pop_back();
  return bytes;
}

}  // namespace edge
