#include "safetensors.h"

#include <stdexcept>

#include "errors.h"
#include "files.h"
#include "strict_json.h"

namespace edge {
namespace {

constexpr uintmax_t kMaxSafetensorsBytes = uintmax_t{1} << 30;
constexpr uint64_t kMaxHeader = 1 << 20, kLength = 8;

struct Kind {
  const char* dtype;
  uint64_t width;
};

Kind kind_of(const std::string& name) {
  if (name == "F32") return {"float32", 4};
  if (name == "F16") return {"float16", 2};
  if (name == "I32") return {"int32", 4};
  if (name == "I64") return {"int64", 8};
  throw std::invalid_argument("holds numbers of type " + name);
}

uint64_t number(const Json& value) {
  if (!value.is_number_unsigned()) throw std::invalid_argument("gives a size or place that is no number");
  return value.get<uint64_t>();
}

Tensor read_tensor(const Json& entry, std::string_view data) {
  if (!entry.is_object() || entry.size() != 3) throw std::invalid_argument("describes a tensor in another way");
  const Json &shape = entry.at("shape"), &offsets = entry.at("data_offsets");
  const Kind kind = kind_of(entry.at("dtype").get<std::string>());
  if (!shape.is_array() || !offsets.is_array() || offsets.size() != 2) throw std::invalid_argument("describes a tensor in another way");
  Tensor tensor{kind.dtype, {}, {}};
  uint64_t bytes = kind.width;
  for (const Json& size : shape) {
    const uint64_t axis = number(size);
    if (axis > kMaxSafetensorsBytes || bytes > kMaxSafetensorsBytes) throw std::invalid_argument("holds a tensor too large to be true");
    bytes *= axis;
    tensor.shape.push_back(static_cast<int64_t>(axis));
  }
  const uint64_t begin = number(offsets[0]), end = number(offsets[1]);
  if (begin > end || end > data.size() || end - begin != bytes) throw std::invalid_argument("places a tensor outside, or gives it another size");
  tensor.bytes.assign(data.begin() + static_cast<int64_t>(begin), data.begin() + static_cast<int64_t>(end));
  return tensor;
}

Tensors parse(std::string_view bytes) {
  if (bytes.size() < kLength) throw std::invalid_argument("is truncated");
  uint64_t header = 0;
  for (uint64_t index = 0; index < kLength; ++index) header |= uint64_t{static_cast<uint8_t>(bytes[index])} << (8 * index);
  if (header > kMaxHeader || header > bytes.size() - kLength) throw std::invalid_argument("is truncated, or has too long a header");
  const Json document = parse_json(std::string(bytes.substr(kLength, header)));
  if (!document.is_object()) throw std::invalid_argument("has no table of tensors");
  const std::string_view data = bytes.substr(kLength + header);
  Tensors tensors;
  uint64_t total = 0;
  for (const auto& [name, entry] : document.items()) {
    if (name == "__metadata__") continue;
    const Tensor& tensor = tensors[name] = read_tensor(entry, data);
    total += tensor.bytes.size();
    if (total > data.size()) throw std::invalid_argument("places tensors over one another");
  }
  return tensors;
}

}  // namespace

Tensors read_safetensors(const std::filesystem::path& path) {
  return parse_safetensors(read_file(path, kMaxSafetensorsBytes), path.string());
}

Tensors parse_safetensors(const std::string& bytes, const std::string& name) {
  try {
    return parse(bytes);
  } catch (const std::invalid_argument& error) {
    throw BundleError(name + " holds no golden vectors (" + error.what() + "); rebuild the bundle");
  } catch (const Json::exception& error) {
    throw BundleError(name + " holds no golden vectors (" + error.what() + "); rebuild the bundle");
  }
}

}  // namespace edge
