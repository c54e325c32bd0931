#include "record.h"

#include <algorithm>

#include <nlohmann/json.hpp>

#include "base64.h"
#include "errors.h"
#include "files.h"

namespace edge {
namespace {

using Json = nlohmann::ordered_json;

constexpr int kRecordVersion = 3;

std::string_view view(const std::vector<uint8_t>& bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

Json tensors_json(const Tensors& tensors) {
  Json document = Json::object();
  for (const auto& [name, tensor] : tensors) {
    document[name] = {{"dtype", tensor.dtype}, {"shape", tensor.shape}, {"data", to_base64(view(tensor.bytes))}};
  }
  return document;
}

Json stages_json(const Recorder& recorder) {
  Json list = Json::array();
  for (size_t index = 0; index < recorder.events().size(); ++index) {
    const Event& event = recorder.events()[index];
    list.push_back({{"stage", event.stage}, {"index", event.index}, {"count", event.count}, {"load", event.load},
                    {"run", event.run}, {"peak_rss_mb", recorder.peaks_mb()[index]}});
  }
  return list;
}

Json machine_json(const Machine& machine) {
  return {{"system", machine.system},
          {"architecture", machine.architecture},
          {"cpu", machine.cpu},
          {"cpu_features", machine.cpu_features},
          {"cores", machine.cores},
          {"memory_bytes", machine.memory_bytes}};
}

Json request_json(const Request& request) {
  return {{"prompt", request.prompt}, {"seconds", request.seconds}, {"seed", request.seed}, {"steps", *request.steps}};
}

Json wav_json(const std::optional<WavReport>& wav) {
  if (!wav) return nullptr;
  return {{"sha256", wav->sha256},
          {"bytes", wav->bytes},
          {"sample_rate", wav->sample_rate},
          {"channels", wav->channels},
          {"samples", wav->samples},
          {"peak", wav->peak},
          {"clipped", wav->clipped},
          {"float32", wav->float32},
          {"finishing", {{"normalize", wav->finishing.normalize}, {"fade", wav->finishing.fade}}},
          {"tags", wav->tags},
          {"format", "wav"}};
}

// NumPy's format 1.0: magic, version, the length of a Python literal padded to 64 bytes, the numbers.
std::string npy_bytes(const Tensor& tensor) {
  const std::string kind = tensor.dtype == "float32" ? "<f4" : tensor.dtype == "float16" ? "<f2"
                           : tensor.dtype == "int32" ? "<i4" : "<i8";
  std::string shape;
  for (const int64_t size : tensor.shape) shape += std::to_string(size) + ",";
  std::string header = "{'descr': '" + kind + "', 'fortran_order': False, 'shape': (" + shape + "), }";
  constexpr size_t kBefore = 10, kAlignment = 64;
  header.append((kAlignment - (kBefore + header.size() + 1) % kAlignment) % kAlignment, ' ');
  header += '\n';
  std::string bytes("\x93NUMPY\x01\x00", 8);
  bytes += static_cast<char>(header.size() & 0xFF);
  bytes += static_cast<char>(header.size() >> 8);
  return bytes + header + std::string(tensor.bytes.begin(), tensor.bytes.end());
}

}  // namespace

OpenProgram Recorder::watched(OpenProgram open_program) {
  return [open_program = std::move(open_program)](const std::string& role) {
    const auto is_stage = [&](const StageRoles& each) { return each.stage == role; };
    // The others are a stage's further programs.
    if (std::any_of(kStages.begin(), kStages.end(), is_stage)) forget_peak_memory();
    return open_program(role);
  };
}

void Recorder::add(Event event) {
  events_.push_back(std::move(event));
  peaks_mb_.push_back(peak_memory_mb());
}

std::string dump_record(const Bundle& bundle, const RunInfo& run, const Recorder& recorder, const Tensors& tensors,
                        const std::optional<WavReport>& wav) {
  const Manifest& manifest = bundle.manifest;
  Json document;
  document["record_version"] = kRecordVersion;
  document["runtime"] = {{"name", "edge-run"}, {"version", EDGE_VERSION}, {"engine", manifest.backend},
                         {"engine_version", EDGE_ENGINE_VERSION}};
  document["bundle"] = {{"manifest_sha256", bundle.manifest_sha256},
                        {"model", manifest.model.name},
                        {"backend", manifest.backend},
                        {"recipe", manifest.recipe.name}};
  document["label"] = run.label;
  document["machine"] = machine_json(run.machine);
  document["threads"] = run.threads;
  document["request"] = request_json(run.request.resolved(manifest.generation));
  document["inputs"] = run.golden ? "golden" : "own";
  document["open_seconds"] = run.open_seconds;
  document["stages"] = stages_json(recorder);
  document["tensors"] = tensors_json(tensors);
  document["wav"] = wav_json(wav);
  return document.dump(1, ' ', false, Json::error_handler_t::replace) + "\n";
}

void dump_tensors(const std::filesystem::path& folder, const Tensors& tensors) {
  std::error_code failed;
  std::filesystem::create_directories(folder, failed);
  if (failed) throw OutputError("cannot make " + folder.string() + ": " + failed.message() + "; write elsewhere");
  for (const auto& [name, tensor] : tensors) replace_file(folder / (name + ".npy"), npy_bytes(tensor));
}

}  // namespace edge
