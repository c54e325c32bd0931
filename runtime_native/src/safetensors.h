// Tensors from a safetensors file: names, dtypes, shapes, little-endian numbers, nothing that can run.
#pragma once

#include <filesystem>
#include <string>

#include "tensor.h"

namespace edge {

// Every tensor of the file. BundleError when it is missing, truncated, or is no such file.
Tensors read_safetensors(const std::filesystem::path& path);

// The same from bytes, whose place is `name` in messages.
Tensors parse_safetensors(const std::string& bytes, const std::string& name);

}  // namespace edge
