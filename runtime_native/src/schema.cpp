#include "schema.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <limits>

namespace edge {
namespace {

// What kind of value it is, as runtime_py names it.
std::string kind_of(const Json& value) {
  switch (value.type()) {
    case Json::value_t::null: return "null";
    case Json::value_t::boolean: return "bool";
    case Json::value_t::number_integer:
    case Json::value_t::number_unsigned: return "int";
    case Json::value_t::number_float: return "float";
    case Json::value_t::string: return "str";
    case Json::value_t::array: return "list";
    default: return "dict";
  }
}

void expect(bool condition, const char* expected, const Json& value, const std::string& path) {
  if (!condition) throw SchemaError(path, std::string("expected ") + expected + ", found " + kind_of(value));
}

}  // namespace

void require(bool condition, const std::string& path, const std::string& problem) {
  if (!condition) throw SchemaError(path, problem);
}

std::string in_quotes(const std::string& text) {
  const bool apostrophe = text.find('\'') != std::string::npos && text.find('"') == std::string::npos;
  const char quote = apostrophe ? '"' : '\'';
  std::string made(1, quote);
  for (const char byte : text) {
    char code[8];
    std::snprintf(code, sizeof code, "\\x%02x", static_cast<unsigned char>(byte));
    if (byte == '\\' || byte == quote) made += '\\';
    const bool control = static_cast<unsigned char>(byte) < ' ' || byte == '\x7f';
    made += control ? std::string(code) : std::string(1, byte);
  }
  return made + quote;
}

std::string joined(const std::vector<std::string>& words) {
  std::string text;
  for (const std::string& word : words) text += (text.empty() ? "" : ", ") + word;
  return text;
}

std::string brief(double number) {
  char text[32];
  std::snprintf(text, sizeof text, "%g", number);
  return text;
}

std::string shortest(double number) {
  constexpr int kMostDigits = 17, kLeastExponent = -4, kMostExponent = 15;  // beyond: scientific
  char text[64];
  int digits = 0;
  do std::snprintf(text, sizeof text, "%.*e", digits, number);
  while (std::strtod(text, nullptr) != number && ++digits < kMostDigits);
  const int exponent = std::atoi(std::strchr(text, 'e') + 1);
  if (exponent < kLeastExponent || exponent > kMostExponent) return text;
  std::snprintf(text, sizeof text, "%.*f", std::max(1, digits - exponent), number);
  return text;
}

Fields::Fields(const Json& value, std::string path) : value_(value), path_(std::move(path)) {
  expect(value.is_object(), "an object", value, path_);
}

const Json& Fields::take(const std::string& key) {
  const auto found = value_.find(key);
  require(found != value_.end(), at(key), "is missing");
  taken_.insert(key);
  return *found;
}

void Fields::done() const {
  for (const auto& [key, value] : value_.items()) {
    require(taken_.count(key) != 0, at(key), "is not a key of this schema; was it made by another version?");
  }
}

void Fields::read_value(const Json& value, const std::string& path, std::string& into) {
  expect(value.is_string(), "str", value, path);
  into = value.get<std::string>();
}

void Fields::read_value(const Json& value, const std::string& path, int64_t& into) {
  expect(value.is_number_integer(), "int", value, path);
  const auto most = static_cast<uint64_t>(std::numeric_limits<int64_t>::max());
  require(!value.is_number_unsigned() || value.get<uint64_t>() <= most, path, "is too large to be true");
  into = value.get<int64_t>();
}

void Fields::read_value(const Json& value, const std::string& path, double& into) {
  expect(value.is_number(), "float", value, path);
  into = value.get<double>();
  require(value.is_number_float() || std::fabs(into) <= 0x1p53, path, "is too large to be true");
  require(std::isfinite(into), path, "is not a finite number");
}

void Fields::read_value(const Json& value, const std::string& path, bool& into) {
  expect(value.is_boolean(), "bool", value, path);
  into = value.get<bool>();
}

void Fields::require_list(const Json& value, const std::string& path) { expect(value.is_array(), "a list", value, path); }

}  // namespace edge
