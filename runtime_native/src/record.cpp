#include "record.h"

#include <nlohmann/json.hpp>

#include "base64.h"
#include "errors.h"
#include "sha256.h"

namespace edge {
namespace {

using Json = nlohmann::ordered_json;

constexpr int kRecordVersion = 1;

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

Json stages_json(const std::vector<Event>& events) {
  Json list = Json::array();
  for (const Event& event : events) {
    list.push_back({{"stage", event.stage}, {"index", event.index}, {"count", event.count}, {"load", event.load},
                    {"run", event.run}, {"peak_rss_mb", event.peak_rss_mb}});
  }
  return list;
}

Json wav_json(const Run& run) {
  if (!run.wav) return nullptr;
  const WavReport& wav = *run.wav;
  return {{"sha256", sha256_of(wav.path)},
          {"bytes", std::filesystem::file_size(wav.path)},
          {"sample_rate", wav.sample_rate},
          {"channels", wav.channels},
          {"samples", wav.samples},
          {"peak", wav.peak},
          {"clipped", wav.clipped},
          {"float32", run.float32}};
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

std::string dump_record(const Bundle& bundle, const Run& run) {
  const Manifest& manifest = bundle.manifest;
  const Request& request = run.request;
  Json document;
  document["record_version"] = kRecordVersion;
  document["runtime"] = {{"name", "edge-run"}, {"version", EDGE_VERSION}, {"engine", manifest.backend},
                         {"engine_version", EDGE_ENGINE_VERSION}};
  document["bundle"] = {{"manifest_sha256", sha256_of(bundle.folder / "manifest.json")},
                        {"model", manifest.model.name},
                        {"backend", manifest.backend},
                        {"recipe", manifest.recipe.name}};
  document["device"] = {{"label", run.label},
                        {"system", run.device.system},
                        {"machine", run.device.machine},
                        {"cpu", run.device.cpu},
                        {"cpu_features", run.device.cpu_features},
                        {"cores", run.device.cores},
                        {"threads", run.threads}};
  document["request"] = {{"prompt", request.prompt}, {"seconds", request.seconds}, {"seed", request.seed},
                         {"steps", run.made.tensors.at("step_latent").shape[0]}};
  document["inputs"] = run.golden ? "golden" : "own";
  document["stages"] = stages_json(run.made.events);
  document["tensors"] = tensors_json(run.made.tensors);
  document["wav"] = wav_json(run);
  return document.dump(1, ' ', false, Json::error_handler_t::replace) + "\n";
}

void dump_tensors(const std::filesystem::path& folder, const Tensors& tensors) {
  std::error_code failed;
  std::filesystem::create_directories(folder, failed);
  if (failed) throw OutputError("cannot make " + folder.string() + ": " + failed.message() + "; write elsewhere");
  for (const auto& [name, tensor] : tensors) replace_file(folder / (name + ".npy"), npy_bytes(tensor));
}

}  // namespace edge
