#include "audio.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "errors.h"
#include "files.h"
#include "sha256.h"

namespace edge {
namespace {

constexpr int kPcm = 1, kIeeeFloat = 3;
constexpr double kFullScale = 32767;

void append(std::string& bytes, uint64_t value, int width) {
  for (int index = 0; index < width; ++index) bytes += static_cast<char>(value >> (8 * index) & 0xFF);
}

// Half to even whatever rounding the caller has set.
double rounded(double value) {
  const double below = std::floor(value), rest = value - below;
  if (rest != 0.5) return rest < 0.5 ? below : below + 1;
  return std::fmod(below, 2) == 0 ? below : below + 1;
}

uint64_t level(float sample) {
  const double value = std::clamp(rounded(static_cast<double>(sample) * kFullScale), -kFullScale - 1, kFullScale);
  return static_cast<uint64_t>(static_cast<int64_t>(value));
}

uint64_t bits(float sample) {
  uint32_t word;
  std::memcpy(&word, &sample, sizeof word);
  return word;
}

}  // namespace

void append_chunk(std::string& bytes, const char* name, const std::string& body) {
  bytes += name;
  append(bytes, body.size(), 4);
  bytes += body;
  if (body.size() % 2) bytes += '\0';
}

int64_t samples_in(double seconds, int64_t sample_rate) {
  return static_cast<int64_t>(rounded(seconds * static_cast<double>(sample_rate)));
}

std::string wav_bytes(const Tensor& audio, int64_t sample_rate, bool float32, const std::string& after) {
  const auto channels = static_cast<size_t>(audio.shape[0]), samples = static_cast<size_t>(audio.shape[1]);
  const float* values = audio.floats();
  if (!audio.finite()) {
    throw GenerationError("the audio holds NaN or infinity; nothing was written: run `edge-export verify`");
  }
  const int width = float32 ? 4 : 2;
  const uint64_t block = channels * static_cast<uint64_t>(width), rate = static_cast<uint64_t>(sample_rate);
  std::string body;
  body.reserve(samples * block);
  for (size_t sample = 0; sample < samples; ++sample) {
    for (size_t channel = 0; channel < channels; ++channel) {
      const float value = values[channel * samples + sample];
      append(body, float32 ? bits(value) : level(value), width);
    }
  }
  std::string form;
  append(form, float32 ? kIeeeFloat : kPcm, 2);
  append(form, channels, 2);
  append(form, rate, 4);
  append(form, rate * block, 4);
  append(form, block, 2);
  append(form, 8 * static_cast<uint64_t>(width), 2);
  if (float32) append(form, 0, 2);  // size of the extension: none
  std::string chunks;
  append_chunk(chunks, "fmt ", form);
  if (float32) {  // required of formats other than PCM
    std::string count;
    append(count, samples, 4);
    append_chunk(chunks, "fact", count);
  }
  append_chunk(chunks, "data", body);
  chunks += after;
  std::string file = "RIFF";
  append(file, 4 + chunks.size(), 4);
  return file + "WAVE" + chunks;
}

WavReport write_wav(const std::filesystem::path& path, const Tensor& audio, int64_t sample_rate, bool float32,
                    const std::string& after) {
  const std::string data = wav_bytes(audio, sample_rate, float32, after);
  replace_file(path, data);
  WavReport report;
  report.sha256 = sha256(data);
  report.bytes = data.size();
  report.sample_rate = sample_rate;
  report.channels = audio.shape[0];
  report.samples = audio.shape[1];
  report.float32 = float32;
  report.tags = !after.empty();
  const float* values = audio.floats();
  for (int64_t index = 0; index < audio.shape[0] * audio.shape[1]; ++index) {
    const double magnitude = std::fabs(values[index]);
    report.peak = std::max(report.peak, magnitude);
    report.clipped += !float32 && magnitude > 1;
  }
  return report;
}

}  // namespace edge
