// A manifest from a stranger is read, or refused in one line; nothing else may happen.
// Every input is tried as it is and, to come past the seal, with the seal that it should have.
#include <cstdint>
#include <cstdlib>
#include <string>

#include "errors.h"
#include "estimate.h"
#include "manifest.h"
#include "refusal.h"
#include "sha256.h"
#include "windows.h"

namespace {

constexpr int64_t kMostMoments = 1 << 16;  // for more, a list of windows is as large as was asked for

// `text` with the value of its last seal put right. Seals are found by their key alone, whatever surrounds them.
std::string resealed(const std::string& text) {
  static const std::string kKey = "\"seal\": \"";
  const size_t key = text.rfind(kKey);
  const size_t end = key == std::string::npos ? key : text.find('"', key + kKey.size());
  if (end == std::string::npos) return text;
  const std::string before = text.substr(0, key + kKey.size()), after = text.substr(end);
  return before + edge::sha256(before + after) + after;
}

// All of a length is kept of its windows, once and in order.
void require_cover(int64_t length, int64_t window, int64_t margin) {
  if (length > kMostMoments) return;
  int64_t done = 0;
  for (const edge::Window& part : edge::windows(length, window, margin, length)) {
    const bool sound = part.first == done && part.start >= 0 && part.start <= part.first && part.first < part.end &&
                       part.end <= part.start + window && part.start + window <= length;
    if (!sound) std::abort();
    done = part.end;
  }
  if (done != length) std::abort();
}

// What a runtime does with a manifest before it opens another file.
void use(const edge::Manifest& manifest) {
  for (const edge::FileSpec* file : manifest.files()) {
    if (file->file.empty() || file->file.find('/') != std::string::npos) std::abort();
  }
  const edge::GenerationSpec& spec = manifest.generation;
  if (spec.sampler.steps() < 1 || spec.latent.samples() < 1 || spec.seconds_limit() <= 0) std::abort();
  if (edge::estimate_request(manifest, manifest.golden.request, [](auto&) { return edge::Packed::kOnce; }).total_bytes() < 0) std::abort();
  for (const std::string& role : edge::kRoles) {
    const size_t count = spec.has(role) ? 1 : 0;
    if (spec.programs.count(role) != count || manifest.programs.count(role) != count) std::abort();
  }
  require_cover(spec.latent.length(), spec.window(), spec.latent.margin);
  if (spec.features) require_cover(spec.window() * spec.features->rate, spec.tile(), spec.features->margin);
}

void read(const std::string& text) {
  try {
    use(edge::parse_manifest(text));
  } catch (const edge::BundleError& error) {
    require_one_line(error);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string text(reinterpret_cast<const char*>(data), size);
  read(text);
  read(resealed(text));
  return 0;
}
