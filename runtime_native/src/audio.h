// Audio as samples and as WAV bytes. It knows nothing of how sound is made.
// 16-bit samples are round(x * 32767), half to even, clipped to -32768..32767; no dither, so that equal audio gives
// equal bytes.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

#include "finishing.h"
#include "tensor.h"

namespace edge {

// What was written: the hash and size of the file (a pipe cannot be read again), samples of each channel, the largest
// magnitude (1 is full scale), and what was cut off, over all channels: nothing in a float file, which keeps it. finishing: what was done to the samples before. tags: the file tells
// how to make it again.
struct WavReport {
  std::string sha256;
  size_t bytes = 0;
  int64_t sample_rate = 0, channels = 0, samples = 0;
  double peak = 0;
  int64_t clipped = 0;
  bool float32 = false;
  Finishing finishing{false, false};
  bool tags = false;
};

// Append a RIFF chunk, padded to an even length.
void append_chunk(std::string& bytes, const char* name, const std::string& body);

// The samples of a clip of so many seconds: rounded, half to even.
int64_t samples_in(double seconds, int64_t sample_rate);

// A WAV file of float32 [channels, samples] at `sample_rate` Hz: 16-bit PCM, or 32-bit IEEE float.
// after: RIFF chunks to follow the samples. GenerationError when the audio holds NaN or infinity.
std::string wav_bytes(const Tensor& audio, int64_t sample_rate, bool float32, const std::string& after = "");

// Write a WAV; an existing file is replaced at once and whole, or not at all. OutputError when it cannot be written.
WavReport write_wav(const std::filesystem::path& path, const Tensor& audio, int64_t sample_rate, bool float32,
                    const std::string& after);

}  // namespace edge
