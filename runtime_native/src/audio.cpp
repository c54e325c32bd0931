#include "audio.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstring>
#include <vector>

#include "errors.h"

namespace edge {
namespace {

constexpr int kPcm = 1, kIeeeFloat = 3;
constexpr double kFullScale = 32767;

const float* samples_of(const Tensor& audio) { return reinterpret_cast<const float*>(audio.bytes.data()); }

void append(std::string& bytes, uint64_t value, int width) {
  for (int index = 0; index < width; ++index) bytes += static_cast<char>(value >> (8 * index) & 0xFF);
}

void append_chunk(std::string& bytes, const char* name, const std::string& body) {
  bytes += name;
  append(bytes, body.size(), 4);
  bytes += body;
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

[[noreturn]] void refuse(const std::filesystem::path& path, int error) {
  const char* advice = error == ENOSPC ? "free some space" : "write elsewhere";
  throw OutputError("cannot write " + path.string() + ": " + std::strerror(error) + "; " + advice);
}

// A file of ours beside the one to replace, gone again unless it was moved there.
class Temporary {
 public:
  explicit Temporary(const std::filesystem::path& folder) : name_((folder / ".edge-run-XXXXXX").string()) {
    file_ = mkstemp(name_.data());
  }
  ~Temporary() {
    if (file_ >= 0) close(file_);
    if (!name_.empty()) unlink(name_.c_str());
  }
  bool write(std::string_view data) {
    while (file_ >= 0 && !data.empty()) {
      const ssize_t written = ::write(file_, data.data(), data.size());
      if (written < 0 && errno == EINTR) continue;
      if (written < 0) return false;
      data.remove_prefix(static_cast<size_t>(written));
    }
    return file_ >= 0 && fchmod(file_, 0666 & ~mask()) == 0 && fsync(file_) == 0;
  }
  bool move_to(const std::filesystem::path& path) {
    if (rename(name_.c_str(), path.c_str()) != 0) return false;
    name_.clear();
    return true;
  }

 private:
  static mode_t mask() {
    const mode_t mask = umask(0);
    umask(mask);
    return mask;
  }
  std::string name_;
  int file_ = -1;
};

}  // namespace

int64_t samples_in(double seconds, int64_t sample_rate) {
  return static_cast<int64_t>(rounded(seconds * static_cast<double>(sample_rate)));
}

std::string wav_bytes(const Tensor& audio, int64_t sample_rate, bool float32) {
  const auto channels = static_cast<size_t>(audio.shape[0]), samples = static_cast<size_t>(audio.shape[1]);
  const float* values = samples_of(audio);
  if (!std::all_of(values, values + channels * samples, [](float value) { return std::isfinite(value); })) {
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
  std::string file = "RIFF";
  append(file, 4 + chunks.size(), 4);
  return file + "WAVE" + chunks;
}

WavReport write_wav(const std::filesystem::path& path, const Tensor& audio, int64_t sample_rate, bool float32) {
  replace_file(path, wav_bytes(audio, sample_rate, float32));
  WavReport report{path, sample_rate, audio.shape[0], audio.shape[1], 0, 0};
  const float* values = samples_of(audio);
  for (int64_t index = 0; index < audio.shape[0] * audio.shape[1]; ++index) {
    const double magnitude = std::fabs(values[index]);
    report.peak = std::max(report.peak, magnitude);
    report.clipped += !float32 && magnitude > 1;
  }
  return report;
}

void replace_file(const std::filesystem::path& path, std::string_view data) {
  std::error_code failed;
  if (std::filesystem::is_directory(path, failed)) throw OutputError(path.string() + " is a folder; name a file");
  if (std::filesystem::exists(path, failed) && !std::filesystem::is_regular_file(path, failed)) {
    throw OutputError(path.string() + " is not a plain file; name another");
  }
  const auto folder = path.has_parent_path() ? path.parent_path() : std::filesystem::path(".");
  Temporary temporary(folder);
  if (!temporary.write(data) || !temporary.move_to(path)) refuse(path, errno);
}

}  // namespace edge
