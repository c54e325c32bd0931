#include "program.h"

#include <executorch/extension/module/module.h>
#include <executorch/extension/tensor/tensor.h>
#include <executorch/runtime/core/exec_aten/util/scalar_type_util.h>
#include <executorch/runtime/platform/platform.h>

#include <algorithm>
#include <cstring>
#include <sstream>

#include "errors.h"

// The SDK ships the library but not its header.
namespace executorch::extension::threadpool {
class ThreadPool {
 public:
  size_t get_thread_count() const;
  bool _unsafe_reset_threadpool(uint32_t threads);
};
ThreadPool* get_threadpool();
}  // namespace executorch::extension::threadpool

namespace edge {
namespace {

using executorch::aten::ScalarType;
using executorch::extension::Module;
using executorch::extension::TensorPtr;
using executorch::runtime::EValue;
using Status = executorch::runtime::Error;
using Verification = executorch::runtime::Program::Verification;

constexpr char kMethod[] = "forward";

// The first thing ExecuTorch complained of since the last call: said in our one line, not beside it.
std::string complaint;

void hear(et_timestamp_t, et_pal_log_level_t level, const char*, const char*, size_t, const char* message, size_t length) {
  if (complaint.empty() && (level == kError || level == kFatal)) complaint.assign(message, length);
}

void listen() {
  complaint.clear();
  static const bool registered =
      executorch::runtime::register_pal(executorch::runtime::PalImpl::create(hear, __FILE__));
  (void)registered;
}

std::string reason(Status status) {
  return complaint.empty() ? executorch::runtime::to_string(status) : complaint;
}

const char* dtype_name(ScalarType type) {
  switch (type) {
    case ScalarType::Float: return "float32";
    case ScalarType::Half: return "float16";
    case ScalarType::Int: return "int32";
    case ScalarType::Long: return "int64";
    default: return "another dtype";
  }
}

ScalarType scalar_type(const std::string& dtype) {
  if (dtype == "float32") return ScalarType::Float;
  if (dtype == "float16") return ScalarType::Half;
  if (dtype == "int32") return ScalarType::Int;
  return ScalarType::Long;
}

template <typename Sizes>
std::string described(const std::string& dtype, const Sizes& sizes) {
  std::ostringstream text;
  text << dtype << " (";
  for (size_t axis = 0; axis < sizes.size(); ++axis) text << (axis ? ", " : "") << sizes[axis];
  text << ')';
  return text.str();
}

std::string described(const TensorSpec& spec) { return described(spec.dtype, spec.shape); }
std::string described(const Tensor& tensor) { return described(tensor.dtype, tensor.shape); }

std::string described(const executorch::runtime::Result<executorch::runtime::TensorInfo>& info) {
  return info.ok() ? described(dtype_name(info->scalar_type()), info->sizes()) : "no tensor";
}

std::vector<TensorSpec> by_position(std::vector<TensorSpec> specs) {
  std::sort(specs.begin(), specs.end(), [](auto& a, auto& b) { return a.position < b.position; });
  return specs;
}

// Hold the program's own tensors, in its order, against the manifest's.
template <typename Info>
void check_interface(const std::string& path, const char* side, const std::vector<TensorSpec>& specs, size_t count,
                     Info info) {
  std::string expected, found;
  for (const auto& spec : by_position(specs)) expected += described(spec) + "; ";
  for (size_t index = 0; index < count; ++index) found += described(info(index)) + "; ";
  if (expected != found) {
    throw BundleError(path + ": its " + side + " are " + found + "the manifest says " + expected + "rebuild the bundle");
  }
}

}  // namespace

struct Program::Loaded {
  Module module;
  explicit Loaded(const std::string& path) : module(path, Module::LoadMode::Mmap) {}
};

Program::Program(const std::filesystem::path& path, const ProgramSpec& spec)
    : spec_(spec), loaded_(std::make_unique<Loaded>(path.string())) {
  listen();
  Module& module = loaded_->module;
  const auto require_ok = [&](Status status) {
    if (status == Status::Ok) return;
    throw BundleError(path.string() + " is no program for ExecuTorch (" + reason(status) +
                      "); rebuild the bundle");
  };
  require_ok(module.load(Verification::InternalConsistency));
  const auto meta = module.method_meta(kMethod);
  if (!meta.ok()) throw BundleError(path.string() + " has no method 'forward'; rebuild the bundle");
  check_interface(path.string(), "inputs", spec.inputs, meta->num_inputs(),
                  [&](size_t index) { return meta->input_tensor_meta(index); });
  check_interface(path.string(), "outputs", spec.outputs, meta->num_outputs(),
                  [&](size_t index) { return meta->output_tensor_meta(index); });
  require_ok(module.load_method(kMethod));
}

Program::~Program() = default;

Tensors Program::run(const Tensors& inputs) {
  std::vector<EValue> arranged;
  std::vector<TensorPtr> kept;
  if (inputs.size() != spec_.inputs.size()) {
    throw UsageError("the " + spec_.name + " takes " + std::to_string(spec_.inputs.size()) + " inputs, not " +
                     std::to_string(inputs.size()));
  }
  for (const auto& spec : by_position(spec_.inputs)) {
    const auto found = inputs.find(spec.name);
    if (found == inputs.end()) throw UsageError("the " + spec_.name + " lacks its input '" + spec.name + "'");
    const Tensor& tensor = found->second;
    if (described(tensor) != described(spec)) {
      throw UsageError("the " + spec_.name + "'s " + spec.name + " is " + described(tensor) + ", expected " +
                       described(spec));
    }
    std::vector<executorch::aten::SizesType> sizes(tensor.shape.begin(), tensor.shape.end());
    // ExecuTorch reads an input where it lies.
    kept.push_back(executorch::extension::from_blob(const_cast<uint8_t*>(tensor.bytes.data()), std::move(sizes),
                                                    scalar_type(tensor.dtype)));
    arranged.emplace_back(*kept.back());
  }
  listen();
  const auto made = loaded_->module.execute(kMethod, arranged);
  if (!made.ok()) {
    throw GenerationError("the " + spec_.name + " failed in ExecuTorch: " + reason(made.error()));
  }
  Tensors outputs;
  for (const auto& spec : spec_.outputs) {
    const auto& value = made->at(static_cast<size_t>(spec.position));
    if (!value.isTensor()) throw GenerationError("the " + spec_.name + " returned no tensor for " + spec.name);
    const auto& tensor = value.toTensor();
    const std::string found = described(dtype_name(tensor.scalar_type()), tensor.sizes());
    if (found != described(spec)) {
      throw GenerationError("the " + spec_.name + " returned " + found + " for " + spec.name + ", expected " +
                            described(spec));
    }
    const auto* data = static_cast<const uint8_t*>(tensor.const_data_ptr());
    outputs[spec.name] = Tensor{spec.dtype, spec.shape, {data, data + tensor.nbytes()}};
  }
  return outputs;
}

void set_threads(int threads) {
  listen();
  auto* pool = executorch::extension::threadpool::get_threadpool();
  if (threads > 0 && (pool == nullptr || !pool->_unsafe_reset_threadpool(static_cast<uint32_t>(threads)))) {
    throw GenerationError("this build of ExecuTorch cannot set its threads; leave --threads out");
  }
}

int thread_count() {
  auto* pool = executorch::extension::threadpool::get_threadpool();
  return pool == nullptr ? 1 : static_cast<int>(pool->get_thread_count());
}

}  // namespace edge
