// The errors a runtime can raise, with their exit codes: the same as runtime_py/errors.py.
// Each message is one line that says what is wrong, where, and what to do next.
#pragma once

#include <stdexcept>
#include <string>

namespace edge {

// `message` with spaces for control characters: a name out of a stranger's file may hold them, and steer a terminal.
inline std::string one_line(std::string message) {
  for (char& byte : message) {
    if (static_cast<unsigned char>(byte) < ' ' || byte == '\x7f') byte = ' ';
  }
  return message;
}

struct Error : std::runtime_error {
  Error(const std::string& message, int code) : std::runtime_error(one_line(message)), exit_code(code) {}
  int exit_code;
};

template <int kCode>
struct ErrorOf : Error {
  static constexpr int kExitCode = kCode;
  explicit ErrorOf(const std::string& message) : Error(message, kCode) {}
};

// What was asked for makes no sense.
struct UsageError : ErrorOf<2> {
  using ErrorOf::ErrorOf;
};
// A bundle is missing, altered, from another version, or unsafe to read.
struct BundleError : ErrorOf<4> {
  using ErrorOf::ErrorOf;
};
// The result cannot be written.
struct OutputError : ErrorOf<6> {
  using ErrorOf::ErrorOf;
};
// Nobody reads any more what goes into a pipe: it ends as quietly as if SIGPIPE had ended it.
struct ReaderGone : ErrorOf<141> {
  using ErrorOf::ErrorOf;
};
// A program failed while running, or returned numbers that are not sound.
struct GenerationError : ErrorOf<10> {
  using ErrorOf::ErrorOf;
};
// This device lacks what the bundle's target needs.
struct DeviceError : ErrorOf<11> {
  using ErrorOf::ErrorOf;
};

}  // namespace edge
