// One program for whoever embeds the runtime, in C: include/edge_program.h over the engine. Codes and text leave it, and
// no exception. It does not know what the tensors mean.
#include "edge_program.h"

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <memory>
#include <mutex>
#include <new>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "engine.h"
#include "errors.h"
#include "machine.h"
#include "sha256.h"

struct edge_program {
  std::unique_ptr<edge::Program> program;
  edge::Interface interface;  // by position
  std::string note;
  std::vector<edge_tensor> inputs, outputs;  // views of the interface
};

namespace edge {
namespace {

constexpr size_t kMostTensors = 1024, kMostDimensions = 16;

// One for all programs, as are the pool of threads and ExecuTorch's log.
std::mutex turn;
int open_programs = 0;

// `text` into the caller's memory, cut before a letter of UTF-8 that does not fit.
void hand_out(const std::string& text, char* message, size_t size) {
  if (message == nullptr || size == 0) return;
  size_t length = std::min(text.size(), size - 1);
  while (length < text.size() && length > 0 && (static_cast<unsigned char>(text[length]) & 0xC0) == 0x80) --length;
  std::memcpy(message, text.data(), length);
  message[length] = 0;
}

// What `work` throws, as a code and a line.
template <typename Work>
int guarded(char* message, size_t size, Work work) noexcept {
  try {
    work();
    hand_out("", message, size);
    return 0;
  } catch (const Error& error) {
    hand_out(error.what(), message, size);
    return error.exit_code;
  } catch (const std::bad_alloc&) {
    hand_out("not enough memory for this; close other programs or take a smaller model", message, size);
  } catch (const std::exception& error) {
    hand_out(one_line(error.what()), message, size);
  } catch (...) {
    hand_out("the program failed for an unknown reason; open it again", message, size);
  }
  return 1;
}

void require(bool holds, const std::string& message) {
  if (!holds) throw UsageError(message);
}

void require_given(const void* pointer, const char* name) {
  require(pointer != nullptr, std::string(name) + " is NULL; see edge_program.h");
}

TensorSpec spec_of(const edge_tensor& tensor, size_t index, const std::string& side) {
  const std::string place = side + "[" + std::to_string(index) + "]";
  require_given(tensor.name, (place + ".name").c_str());
  require_given(tensor.dtype, (place + ".dtype").c_str());
  const std::string dtype = tensor.dtype;
  const std::set<std::string> dtypes{"float32", "float16", "int32", "int64"};
  require(dtypes.count(dtype) == 1, place + ".dtype is " + dtype + ", expected float32, float16, int32 or int64");
  require(tensor.dimensions <= kMostDimensions, place + " has more than " + std::to_string(kMostDimensions) + " dimensions");
  if (tensor.dimensions > 0) require_given(tensor.shape, (place + ".shape").c_str());
  return {tensor.name, static_cast<int64_t>(index), dtype, {tensor.shape, tensor.shape + tensor.dimensions}};
}

std::vector<TensorSpec> specs_of(const edge_tensor* tensors, size_t count, const char* side) {
  require_given(tensors, side);
  require(count > 0 && count <= kMostTensors,
          std::string(side) + " are " + std::to_string(count) + ", expected 1 to " + std::to_string(kMostTensors));
  std::vector<TensorSpec> specs;
  std::set<std::string> names;
  for (size_t index = 0; index < count; ++index) {
    specs.push_back(spec_of(tensors[index], index, side));
    require(names.insert(specs.back().name).second, std::string(side) + " name " + specs.back().name + " twice");
  }
  return specs;
}

std::optional<Interface> interface_of(const edge_program_options& options) {
  const bool none = options.inputs == nullptr && options.outputs == nullptr && options.input_count + options.output_count == 0;
  if (none) return std::nullopt;
  return Interface{specs_of(options.inputs, options.input_count, "inputs"),
                   specs_of(options.outputs, options.output_count, "outputs")};
}

ProgramFile file_of(const edge_program_options& options) {
  require_given(options.path, "path");
  const std::string sha256 = options.sha256 == nullptr ? "" : options.sha256;
  const bool digits = sha256.size() == 64 && sha256.find_first_not_of("0123456789abcdef") == std::string::npos;
  require(options.sha256 == nullptr || digits, "sha256 is " + sha256 + ", expected 64 digits of 0-9 and a-f");
  require(options.sha256 != nullptr || (options.cache == nullptr && options.hashed == 0),
          "sha256 is NULL; a cache, and a file that was hashed, need it");
  require(options.cache == nullptr || *options.cache != 0, "cache names no folder; give NULL for none");
  require(options.kept_bytes >= 0, "kept_bytes is " + std::to_string(options.kept_bytes) + ", expected 0 or more");
  require(options.threads >= 0 && options.threads <= kMostThreads,
          "threads is " + std::to_string(options.threads) + ", expected 0 to " + std::to_string(kMostThreads));
  const std::string name = std::filesystem::path(options.path).filename().string();
  return {options.path, name, sha256, options.kept_bytes, interface_of(options)};
}

void check_file(const ProgramFile& file, bool hashed) {
  std::error_code failed;
  const auto status = std::filesystem::status(file.path, failed);
  if (!std::filesystem::exists(status)) {
    throw BundleError("no program at " + file.path + "; give the path of a .pte file of a bundle");
  }
  if (!std::filesystem::is_regular_file(status)) {
    throw BundleError(file.path + " is not a plain file; give the path of a .pte file of a bundle");
  }
  if (!hashed && !file.sha256.empty() && sha256_of(file.path) != file.sha256) {
    throw BundleError(file.path + " was altered: its sha256 is not the one given; copy or build the bundle again");
  }
}

// Programs that are open keep pointers to the threads, which another number would leave dangling.
void take_threads(int threads) {
  if (open_programs == 0) return set_threads(threads);
  if (threads == 0 || threads == thread_count()) return;
  throw UsageError("threads is " + std::to_string(threads) + ", but there is one pool for the whole process, and open programs "
                   "use it with " + std::to_string(thread_count()) + "; free them first, or ask for the same number");
}

size_t bytes_of(const TensorSpec& spec) { return static_cast<size_t>(elements_of(spec.shape) * width_of(spec.dtype)); }

std::vector<edge_tensor> views_of(const std::vector<TensorSpec>& specs) {
  std::vector<edge_tensor> views;
  for (const TensorSpec& spec : specs) {
    views.push_back({spec.name.c_str(), spec.dtype.c_str(), spec.shape.data(), spec.shape.size(), bytes_of(spec)});
  }
  return views;
}

std::unique_ptr<edge_program> opened(const edge_program_options& options) {
  const ProgramFile file = file_of(options);
  check_file(file, options.hashed != 0);
  PackedWeights kept(options.cache == nullptr ? "" : options.cache);
  const std::lock_guard lock(turn);
  take_threads(options.threads);
  OpenedProgram found = open_program(file, options.cache == nullptr ? nullptr : &kept, this_machine());
  auto program = std::make_unique<edge_program>();
  program->program = std::move(found.program);
  program->interface = std::move(found.interface);
  program->note = kept.trouble();
  program->inputs = views_of(program->interface.inputs);
  program->outputs = views_of(program->interface.outputs);
  ++open_programs;
  return program;
}

// What the caller gives on one side is as many, and of the bytes, that the program has there.
template <typename Given>
void check_given(const std::vector<TensorSpec>& specs, const Given* given, size_t count, const std::string& side) {
  require_given(given, (side + "s").c_str());
  require(count == specs.size(),
          side + "s are " + std::to_string(count) + ", expected " + std::to_string(specs.size()));
  for (size_t index = 0; index < count; ++index) {
    const std::string name = side + " " + specs[index].name;
    require_given(given[index].data, (name + ": data").c_str());
    require(given[index].bytes == bytes_of(specs[index]),
            name + " has " + std::to_string(given[index].bytes) + " bytes, expected " + std::to_string(bytes_of(specs[index])) +
                " for " + form_of(specs[index].dtype, specs[index].shape));
  }
}

void run(edge_program& program, const edge_input* inputs, const edge_output* outputs) {
  Tensors given;
  const Interface& interface = program.interface;
  for (size_t index = 0; index < interface.inputs.size(); ++index) {
    const TensorSpec& spec = interface.inputs[index];
    const auto* data = static_cast<const uint8_t*>(inputs[index].data);
    given[spec.name] = Tensor{spec.dtype, spec.shape, {data, data + inputs[index].bytes}};
  }
  const std::lock_guard lock(turn);
  const Tensors made = program.program->run(given);
  for (size_t index = 0; index < interface.outputs.size(); ++index) {
    const Tensor& tensor = made.at(interface.outputs[index].name);
    std::memcpy(outputs[index].data, tensor.bytes.data(), tensor.bytes.size());
  }
}

}  // namespace
}  // namespace edge

int edge_program_open(const edge_program_options* options, edge_program** program, char* message, size_t message_bytes) {
  if (program != nullptr) *program = nullptr;
  return edge::guarded(message, message_bytes, [&] {
    edge::require_given(options, "options");
    edge::require_given(program, "program");
    *program = edge::opened(*options).release();
  });
}

int edge_program_describe(const edge_program* program, edge_program_description* description, char* message,
                          size_t message_bytes) {
  return edge::guarded(message, message_bytes, [&] {
    edge::require_given(program, "program");
    edge::require_given(description, "description");
    const char* const note = program->note.empty() ? nullptr : program->note.c_str();
    *description = {program->inputs.data(),  program->inputs.size(), program->outputs.data(),
                    program->outputs.size(), edge::thread_count(),   note};
  });
}

int edge_program_run(edge_program* program, const edge_input* inputs, size_t input_count, const edge_output* outputs,
                     size_t output_count, char* message, size_t message_bytes) {
  return edge::guarded(message, message_bytes, [&] {
    edge::require_given(program, "program");
    edge::check_given(program->interface.inputs, inputs, input_count, "input");
    edge::check_given(program->interface.outputs, outputs, output_count, "output");
    edge::run(*program, inputs, outputs);
  });
}

void edge_program_free(edge_program* program) {
  if (program == nullptr) return;
  const std::lock_guard lock(edge::turn);
  delete program;
  --edge::open_programs;
}

const edge_program_runtime* edge_program_version(void) {
  static const edge_program_runtime kRuntime{"edge-program", EDGE_VERSION, "executorch", EDGE_ENGINE_VERSION};
  return &kRuntime;
}
