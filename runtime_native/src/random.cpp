#include "random.h"

#include <cmath>

#include "errors.h"

namespace edge {
namespace {

constexpr size_t kBlock = 16, kHalf = kBlock / 2;
constexpr int64_t kMaxSeed = 0xFFFFFFFF;
constexpr double kPi = 3.14159265358979323846;

// Box and Muller (1958) on a block of 16: the first 8 give the radius, the last 8 the angle. Logarithm, sine and cosine
// are taken in double precision and rounded to float once, where every mathematical library agrees.
void box_muller(float* block) {
  for (size_t index = 0; index < kHalf; ++index) {
    const auto radius = static_cast<float>(std::sqrt(-2.0 * std::log(static_cast<double>(1.0f - block[index]))));
    const double angle = static_cast<float>(2 * kPi) * block[index + kHalf];
    block[index] = radius * static_cast<float>(std::cos(angle));
    block[index + kHalf] = radius * static_cast<float>(std::sin(angle));
  }
}

}  // namespace

TorchRandom::TorchRandom(int64_t seed) : bits_(static_cast<uint32_t>(seed)) {
  if (seed >= 0 && seed <= kMaxSeed) return;
  const char* drawn = seed == -1 ? "; where -1 is to draw one, as in stable-audio-tools, say --seed random" : "";
  throw UsageError("seed is " + std::to_string(seed) + ", expected 0 to " + std::to_string(kMaxSeed) +
                   "; torch.manual_seed takes it as " + std::to_string(seed & kMaxSeed) + ", which gives the same sound" +
                   drawn);
}

std::vector<float> TorchRandom::randn(size_t count) {
  std::vector<float> values(count);
  if (count < kBlock) {
    for (float& value : values) value = static_cast<float>(single());
    return values;
  }
  for (float& value : values) value = uniform();
  for (size_t start = 0; start + kBlock <= count; start += kBlock) box_muller(&values[start]);
  if (count % kBlock) {  // the last 16 numbers are drawn afresh, over the end of the blocks
    float* last = &values[count - kBlock];
    for (size_t index = 0; index < kBlock; ++index) last[index] = uniform();
    box_muller(last);
  }
  return values;
}

// In [0, 1): the low 24 bits of a draw over 2**24.
float TorchRandom::uniform() { return static_cast<float>(bits_() & 0xFFFFFF) * 0x1p-24f; }

// In [0, 1): the low 53 bits of two draws, the first of them high, over 2**53.
double TorchRandom::uniform_double() {
  const uint64_t high = bits_(), low = bits_();
  return static_cast<double>((high << 32 | low) & ((uint64_t{1} << 53) - 1)) * 0x1p-53;
}

// Box and Muller in double precision; the second of each pair is kept for later.
double TorchRandom::single() {
  if (spare_) {
    const double kept = *spare_;
    spare_.reset();
    return kept;
  }
  const double turn = uniform_double(), size = uniform_double();
  const double radius = std::sqrt(-2 * std::log1p(-size)), angle = 2 * kPi * turn;
  spare_ = radius * std::sin(angle);
  return radius * std::cos(angle);
}

}  // namespace edge
