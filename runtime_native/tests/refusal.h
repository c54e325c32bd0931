// What a refusal of a stranger's file must be, whatever the file holds: one line of text.
#pragma once

#include <cstdlib>
#include <exception>
#include <string>

#include "strict_json.h"

// Ends the program unless the message is UTF-8 without control characters.
inline void require_one_line(const std::exception& error) {
  const std::string message = error.what();
  static_cast<void>(edge::Json(message).dump());  // throws, and nothing catches it, when this is not UTF-8
  for (const char byte : message) {
    if (static_cast<unsigned char>(byte) < ' ' || byte == '\x7f') std::abort();
  }
}
