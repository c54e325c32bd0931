#include "engine.h"

#include <executorch/extension/module/module.h>
#include <executorch/extension/tensor/tensor.h>
#include <executorch/runtime/backend/backend_options_map.h>
#include <executorch/runtime/core/exec_aten/util/scalar_type_util.h>
#include <executorch/runtime/platform/platform.h>

#include <unistd.h>

#include <algorithm>
#include <cstring>

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

// The first error that ExecuTorch logged since the last call: it goes into our one line, not beside it. It may quote bytes
// of a file, which need be no UTF-8.
std::string logged_error;

void on_log(et_timestamp_t, et_pal_log_level_t level, const char*, const char*, size_t, const char* message, size_t length) {
  if (!logged_error.empty() || (level != kError && level != kFatal)) return;
  logged_error.assign(message, length);
  std::replace_if(logged_error.begin(), logged_error.end(), [](char byte) { return byte < ' ' || byte > '~'; }, '?');
}

void watch_log() {
  logged_error.clear();
  static const bool registered =
      executorch::runtime::register_pal(executorch::runtime::PalImpl::create(on_log, __FILE__));
  (void)registered;
}

std::string reason(Status status) {
  return logged_error.empty() ? executorch::runtime::to_string(status) : logged_error;
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
std::string form_of_sizes(const char* dtype, const Sizes& sizes) {
  return form_of(dtype, std::vector<int64_t>(sizes.begin(), sizes.end()));
}

std::string form_of_info(const executorch::runtime::Result<executorch::runtime::TensorInfo>& info) {
  return info.ok() ? form_of_sizes(dtype_name(info->scalar_type()), info->sizes()) : "no tensor";
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
  for (const auto& spec : by_position(specs)) expected += form_of(spec.dtype, spec.shape) + "; ";
  for (size_t index = 0; index < count; ++index) found += form_of_info(info(index)) + "; ";
  if (expected != found) {
    throw BundleError(path + ": its " + side + " are " + found + "the manifest says " + expected + "rebuild the bundle");
  }
}

// What the program itself says of its tensors on one side, by names of our own.
template <typename Info>
std::vector<TensorSpec> own_specs(const std::string& path, const std::string& side, size_t count, Info info) {
  std::vector<TensorSpec> specs;
  for (size_t index = 0; index < count; ++index) {
    const auto found = info(index);
    const std::string name = side + "_" + std::to_string(index);
    if (!found.ok() || scalar_type(dtype_name(found->scalar_type())) != found->scalar_type()) {
      throw BundleError(path + ": its " + name + " is " + form_of_info(found) +
                        "; export it with tensors of float32, float16, int32 or int64 alone");
    }
    specs.push_back({name, static_cast<int64_t>(index), dtype_name(found->scalar_type()),
                     {found->sizes().begin(), found->sizes().end()}});
  }
  return specs;
}

// Load with its packed weights in the file at `packed`, if any: mapped where the file holds them, else written to it.
// XNNPACK takes the file with the program alone. It keeps one of a path at a time, so a path must not come back while a
// program uses it.
Status load_module(Module& module, const OpenFile* packed) {
  constexpr auto kVerification = Verification::InternalConsistency;
  if (packed == nullptr) return module.load(kVerification);
  executorch::runtime::BackendOptions<2> options;
  executorch::runtime::LoadBackendOptionsMap by_backend;
  for (const Status status : {options.set_option("weight_cache_enabled", true),
                              options.set_option("packed_cache_path", packed->path().c_str()),
                              by_backend.set_options("XnnpackBackend", options.view())}) {
    if (status != Status::Ok) return status;
  }
  return module.load(by_backend, kVerification);
}

// Whether XNNPACK wrote all that it packed, and what lies where: it ends such a file with these bytes.
bool is_whole(const OpenFile& packed) {
  constexpr char kEnding[] = {'C', 'W', 'P', 'X', 2, 0, 0, 0};
  char ending[sizeof kEnding];
  const auto read = pread(packed.descriptor(), ending, sizeof ending, packed.size() - static_cast<int64_t>(sizeof ending));
  return read == sizeof ending && std::memcmp(ending, kEnding, sizeof ending) == 0;
}

std::string key_of(const std::string& program_sha256, const Machine& machine) {
  return packed_key(program_sha256, "ExecuTorch " EDGE_ENGINE_VERSION, machine);
}

class ExecutorchProgram : public Program {
 public:
  ExecutorchProgram(const ProgramFile& file, std::shared_ptr<OpenFile> packed);
  Tensors run(const Tensors& inputs) override;
  const Interface& interface() const { return interface_; }

 private:
  Interface checked_interface(const ProgramFile& file);
  void check_inputs(const Tensors& inputs) const;
  Tensors outputs_of(const std::vector<EValue>& values) const;
  std::string name_;
  Interface interface_;
  std::shared_ptr<OpenFile> packed_;  // stays open, so that its number is not another file's while the module uses it
  Module module_;
};

ExecutorchProgram::ExecutorchProgram(const ProgramFile& file, std::shared_ptr<OpenFile> packed)
    : name_(file.name), packed_(std::move(packed)), module_(file.path, Module::LoadMode::Mmap) {
  watch_log();
  const auto require_ok = [&](Status status) {
    if (status == Status::Ok) return;
    throw BundleError(file.path + " is no program for ExecuTorch (" + reason(status) + "); rebuild the bundle");
  };
  require_ok(load_module(module_, packed_.get()));
  interface_ = checked_interface(file);
  require_ok(module_.load_method(kMethod));
}

Interface ExecutorchProgram::checked_interface(const ProgramFile& file) {
  const auto meta = module_.method_meta(kMethod);
  if (!meta.ok()) throw BundleError(file.path + " has no method 'forward'; rebuild the bundle");
  const auto input = [&](size_t index) { return meta->input_tensor_meta(index); };
  const auto output = [&](size_t index) { return meta->output_tensor_meta(index); };
  if (!file.interface) {
    return {own_specs(file.path, "input", meta->num_inputs(), input),
            own_specs(file.path, "output", meta->num_outputs(), output)};
  }
  check_interface(file.path, "inputs", file.interface->inputs, meta->num_inputs(), input);
  check_interface(file.path, "outputs", file.interface->outputs, meta->num_outputs(), output);
  return *file.interface;
}

void ExecutorchProgram::check_inputs(const Tensors& inputs) const {
  for (const TensorSpec& spec : interface_.inputs) {
    const auto found = inputs.find(spec.name);
    const std::string is = found == inputs.end() ? "missing" : form_of(found->second.dtype, found->second.shape);
    const std::string expected = form_of(spec.dtype, spec.shape);
    if (is != expected) throw GenerationError(name_ + ": " + spec.name + " is " + is + ", expected " + expected);
  }
  if (inputs.size() == interface_.inputs.size()) return;
  throw GenerationError(name_ + ": was given " + std::to_string(inputs.size()) + " inputs, expected " +
                        std::to_string(interface_.inputs.size()));
}

Tensors ExecutorchProgram::run(const Tensors& inputs) {
  check_inputs(inputs);
  std::vector<EValue> arranged;
  std::vector<TensorPtr> kept;
  for (const TensorSpec& spec : by_position(interface_.inputs)) {
    const Tensor& tensor = inputs.at(spec.name);
    std::vector<executorch::aten::SizesType> sizes(tensor.shape.begin(), tensor.shape.end());
    // ExecuTorch reads an input where it lies.
    kept.push_back(executorch::extension::from_blob(const_cast<uint8_t*>(tensor.bytes.data()), std::move(sizes),
                                                    scalar_type(tensor.dtype)));
    arranged.emplace_back(*kept.back());
  }
  watch_log();
  const auto made = module_.execute(kMethod, arranged);
  if (!made.ok()) throw GenerationError("the " + name_ + " failed in ExecuTorch: " + reason(made.error()));
  return outputs_of(*made);
}

Tensors ExecutorchProgram::outputs_of(const std::vector<EValue>& values) const {
  Tensors outputs;
  for (const TensorSpec& spec : interface_.outputs) {
    const EValue& value = values.at(static_cast<size_t>(spec.position));
    if (!value.isTensor()) throw GenerationError("the " + name_ + " returned no tensor for " + spec.name);
    const auto& tensor = value.toTensor();
    const std::string found = form_of_sizes(dtype_name(tensor.scalar_type()), tensor.sizes());
    const std::string expected = form_of(spec.dtype, spec.shape);
    if (found != expected) {
      throw GenerationError("the " + name_ + " returned " + found + " for " + spec.name + ", expected " + expected);
    }
    const auto* data = static_cast<const uint8_t*>(tensor.const_data_ptr());
    outputs[spec.name] = Tensor{spec.dtype, spec.shape, {data, data + tensor.nbytes()}};
  }
  return outputs;
}

}  // namespace

void set_threads(int threads) {
  watch_log();
  auto* pool = executorch::extension::threadpool::get_threadpool();
  const auto wanted = static_cast<uint32_t>(threads > 0 ? threads : fast_cores());
  const bool set = pool != nullptr && (pool->get_thread_count() == wanted || pool->_unsafe_reset_threadpool(wanted));
  if (threads > 0 && !set) throw GenerationError("this build of ExecuTorch cannot set its threads; leave them to it");
}

OpenedProgram open_program(const ProgramFile& file, PackedWeights* cache, const Machine& machine) {
  const auto open = [&](std::shared_ptr<OpenFile> packed) -> OpenedProgram {
    auto program = std::make_unique<ExecutorchProgram>(file, std::move(packed));
    Interface interface = program->interface();
    return {std::move(program), std::move(interface)};
  };
  if (cache == nullptr || file.kept_bytes == 0) return open(nullptr);
  const std::string key = key_of(file.sha256, machine);
  if (auto kept = cache->find(key)) return open(std::move(kept));
  const auto memory = memory_to_pack_into(file.kept_bytes);
  OpenedProgram opened = open(memory);
  if (memory != nullptr && is_whole(*memory)) cache->keep(*memory, key);
  return opened;
}

OpenProgram bundle_programs(const Bundle& bundle, PackedWeights* cache) {
  const Manifest& manifest = bundle.manifest;
  if (manifest.backend != "executorch") {
    throw BundleError(bundle.folder.string() + " is a " + manifest.backend +
                      " bundle, this runner plays executorch ones; build it with --backend executorch");
  }
  return [&bundle, cache, machine = this_machine()](const std::string& role) {
    const ProgramSpec& spec = bundle.manifest.programs.at(role);
    const ProgramFile file{bundle.path(spec).string(), role, spec.sha256, spec.memory.kept_bytes,
                           bundle.manifest.generation.programs.at(role)};
    return open_program(file, cache, machine).program;
  };
}

PackedOf packed_places(const Bundle& bundle, const PackedWeights* cache) {
  return [&bundle, cache, machine = this_machine()](const std::string& role) {
    const ProgramSpec& spec = bundle.manifest.programs.at(role);
    if (cache == nullptr || spec.memory.kept_bytes == 0) return Packed::kForEach;
    return cache->has(key_of(spec.sha256, machine)) ? Packed::kMapped : Packed::kOnce;
  };
}

int thread_count() {
  auto* pool = executorch::extension::threadpool::get_threadpool();
  return pool == nullptr ? 1 : static_cast<int>(pool->get_thread_count());
}

}  // namespace edge
