// The strict reader: JSON into structs. An unknown key, a missing one, a wrong type or a value out of bounds is refused
// with its path in the document. It does not know which document it reads, nor what is in it.
//
// A struct that is read has, in its own namespace,
//   void read_fields(Fields& from, Struct& into);           takes every key
//   void validate(const Struct& made, const std::string& path);   what must hold beyond the types; optional
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <stdexcept>
#include <string>
#include <vector>

#include "strict_json.h"

namespace edge {

// `path` may be empty: the document as a whole. what() is "path: problem".
struct SchemaError : std::runtime_error {
  SchemaError(const std::string& place, const std::string& fault)
      : std::runtime_error(place.empty() ? fault : place + ": " + fault), path(place), problem(fault) {}
  std::string path, problem;
};

void require(bool condition, const std::string& path, const std::string& problem);

// 'text', as messages quote it: in one line, whatever is in it.
std::string in_quotes(const std::string& text);

// a, b: as messages list words.
std::string joined(const std::vector<std::string>& words);

// A number as messages write it: six digits at most, like printf's %g.
std::string brief(double number);

// A positive number in the fewest digits that give it back, as Python writes it.
std::string shortest(double number);

template <typename Struct>
void validate(const Struct&, const std::string&) {}

// One object of the document: every key is taken once, and what is left when it is done was not in the contract.
class Fields {
 public:
  Fields(const Json& value, std::string path);

  std::string at(const std::string& key) const { return path_.empty() ? key : path_ + "." + key; }
  const Json& take(const std::string& key);
  void done() const;

  template <typename Value>
  void read(const std::string& key, Value& into) {
    read_value(take(key), at(key), into);
  }

 private:
  static void read_value(const Json& value, const std::string& path, std::string& into);
  static void read_value(const Json& value, const std::string& path, int64_t& into);
  static void read_value(const Json& value, const std::string& path, double& into);
  static void read_value(const Json& value, const std::string& path, bool& into);

  template <typename Value>
  static void read_value(const Json& value, const std::string& path, std::optional<Value>& into) {
    if (!value.is_null()) read_value(value, path, into.emplace());
  }
  template <typename Value>
  static void read_value(const Json& value, const std::string& path, std::vector<Value>& into) {
    require_list(value, path);
    for (size_t index = 0; index < value.size(); ++index) {
      read_value(value[index], path + "[" + std::to_string(index) + "]", into.emplace_back());
    }
  }
  template <typename Value>
  static void read_value(const Json& value, const std::string& path, std::map<std::string, Value>& into) {
    Fields inner(value, path);
    for (const auto& [name, item] : value.items()) read_value(item, inner.at(name), into[name]);
  }
  template <typename Struct>
  static void read_value(const Json& value, const std::string& path, Struct& into) {
    Fields fields(value, path);
    read_fields(fields, into);
    fields.done();
    validate(into, path);
  }

  static void require_list(const Json& value, const std::string& path);

  const Json& value_;
  std::string path_;
  std::set<std::string> taken_;
};

}  // namespace edge
