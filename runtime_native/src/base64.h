// Bytes as text, by RFC 4648. It knows nothing of what the bytes are.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace edge {

std::string to_base64(std::string_view bytes);
// Nothing when the text is no base64.
std::optional<std::string> from_base64(std::string_view text);

}  // namespace edge
