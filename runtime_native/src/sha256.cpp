#include "sha256.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <vector>

#include "errors.h"

#if defined(__aarch64__) && defined(__linux__)
#include <arm_neon.h>
#include <asm/hwcap.h>
#include <sys/auxv.h>
#endif

namespace edge {
namespace {

constexpr size_t kBlock = 64, kPiece = 1 << 20;

// The first 32 bits of the fractional parts of the cube roots of the first 64 primes (section 4.2.2).
constexpr uint32_t kRounds[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

using State = std::array<uint32_t, 8>;

uint32_t rotated(uint32_t word, int bits) { return word >> bits | word << (32 - bits); }

void compress(State& state, const uint8_t* block) {
  uint32_t schedule[64];
  for (int t = 0; t < 16; ++t) {
    const uint8_t* word = block + 4 * t;
    schedule[t] = uint32_t{word[0]} << 24 | uint32_t{word[1]} << 16 | uint32_t{word[2]} << 8 | word[3];
  }
  for (int t = 16; t < 64; ++t) {
    const uint32_t early = schedule[t - 15], late = schedule[t - 2];
    schedule[t] = schedule[t - 16] + (rotated(early, 7) ^ rotated(early, 18) ^ early >> 3) + schedule[t - 7] +
                  (rotated(late, 17) ^ rotated(late, 19) ^ late >> 10);
  }
  auto [a, b, c, d, e, f, g, h] = state;
  for (int t = 0; t < 64; ++t) {
    const uint32_t first = h + (rotated(e, 6) ^ rotated(e, 11) ^ rotated(e, 25)) + ((e & f) ^ (~e & g)) + kRounds[t] + schedule[t];
    const uint32_t second = (rotated(a, 2) ^ rotated(a, 13) ^ rotated(a, 22)) + ((a & b) ^ (a & c) ^ (b & c));
    h = g, g = f, f = e, e = d + first, d = c, c = b, b = a, a = first + second;
  }
  const State made = {a, b, c, d, e, f, g, h};
  for (size_t index = 0; index < state.size(); ++index) state[index] += made[index];
}

#if defined(__aarch64__) && defined(__linux__)
// The same with Armv8's SHA-2 instructions: four rounds at a time.
__attribute__((target("+crypto"))) void compress_arm(State& state, const uint8_t* block) {
  uint32x4_t abcd = vld1q_u32(&state[0]), efgh = vld1q_u32(&state[4]);
  const uint32x4_t abcd_before = abcd, efgh_before = efgh;
  uint32x4_t words[4];
  for (int part = 0; part < 4; ++part) words[part] = vreinterpretq_u32_u8(vrev32q_u8(vld1q_u8(block + 16 * part)));
  for (int round = 0; round < 16; ++round) {
    const uint32x4_t added = vaddq_u32(words[round % 4], vld1q_u32(kRounds + 4 * round));
    const uint32x4_t before = abcd;
    abcd = vsha256hq_u32(abcd, efgh, added);
    efgh = vsha256h2q_u32(efgh, before, added);
    if (round < 12) {
      uint32x4_t& next = words[round % 4];
      next = vsha256su1q_u32(vsha256su0q_u32(next, words[(round + 1) % 4]), words[(round + 2) % 4], words[(round + 3) % 4]);
    }
  }
  vst1q_u32(&state[0], vaddq_u32(abcd, abcd_before));
  vst1q_u32(&state[4], vaddq_u32(efgh, efgh_before));
}

const auto compress_here = getauxval(AT_HWCAP) & HWCAP_SHA2 ? compress_arm : compress;
#else
const auto compress_here = compress;
#endif

class Sha256 {
 public:
  void add(std::string_view data) {
    total_ += data.size();
    if (!waiting_.empty()) {
      const size_t taken = std::min(kBlock - waiting_.size(), data.size());
      waiting_.append(data.substr(0, taken));
      data.remove_prefix(taken);
      if (waiting_.size() < kBlock) return;
      compress_here(state_, reinterpret_cast<const uint8_t*>(waiting_.data()));
      waiting_.clear();
    }
    for (; data.size() >= kBlock; data.remove_prefix(kBlock)) {
      compress_here(state_, reinterpret_cast<const uint8_t*>(data.data()));
    }
    waiting_.assign(data);
  }

  std::string hex() {
    const uint64_t bits = total_ * 8;
    std::string ending = "\x80";
    ending.append((kBlock * 2 - 9 - total_ % kBlock) % kBlock, '\0');
    for (int shift = 56; shift >= 0; shift -= 8) ending += static_cast<char>(bits >> shift & 0xFF);
    add(ending);
    static constexpr char kDigits[] = "0123456789abcdef";
    std::string text;
    for (const uint32_t word : state_) {
      for (int shift = 28; shift >= 0; shift -= 4) text += kDigits[word >> shift & 15];
    }
    return text;
  }

 private:
  // The first 32 bits of the fractional parts of the square roots of the first 8 primes (section 5.3.3).
  State state_ = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
  std::string waiting_;
  uint64_t total_ = 0;
};

}  // namespace

std::string sha256(std::string_view data) {
  Sha256 hash;
  hash.add(data);
  return hash.hex();
}

std::string sha256_of(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::vector<char> piece(kPiece);
  Sha256 hash;
  while (file) {
    file.read(piece.data(), static_cast<std::streamsize>(piece.size()));
    hash.add({piece.data(), static_cast<size_t>(file.gcount())});
  }
  if (!file.eof()) {
    throw BundleError("cannot read " + path.string() + ": " + std::strerror(errno) + "; check its permissions");
  }
  return hash.hex();
}

}  // namespace edge
