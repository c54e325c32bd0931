#include "sha256.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>

#include "errors.h"
#include "sha256_cpu.h"

namespace edge {
namespace {

constexpr size_t kBlockBytes = 64, kReadBytes = 1 << 20;

using State = std::array<uint32_t, 8>;

uint32_t rotated(uint32_t word, int bits) { return word >> bits | word << (32 - bits); }

void compress_block(State& state, const uint8_t* block) {
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
    const uint32_t first =
        h + (rotated(e, 6) ^ rotated(e, 11) ^ rotated(e, 25)) + ((e & f) ^ (~e & g)) + kSha256Rounds[t] + schedule[t];
    const uint32_t second = (rotated(a, 2) ^ rotated(a, 13) ^ rotated(a, 22)) + ((a & b) ^ (a & c) ^ (b & c));
    h = g, g = f, f = e, e = d + first, d = c, c = b, b = a, a = first + second;
  }
  const State made = {a, b, c, d, e, f, g, h};
  for (size_t index = 0; index < state.size(); ++index) state[index] += made[index];
}

void compress_portable(State& state, const uint8_t* data, size_t blocks) {
  for (; blocks > 0; --blocks, data += kBlockBytes) compress_block(state, data);
}

class Sha256 {
 public:
  explicit Sha256(const Sha256Way& way = sha256_ways().front()) : compress_(way.compress) {}

  void add(std::string_view data) {
    total_ += data.size();
    if (!waiting_.empty()) {
      const size_t taken = std::min(kBlockBytes - waiting_.size(), data.size());
      waiting_.append(data.substr(0, taken));
      data.remove_prefix(taken);
      if (waiting_.size() < kBlockBytes) return;
      compress_(state_, reinterpret_cast<const uint8_t*>(waiting_.data()), 1);
    }
    const size_t blocks = data.size() / kBlockBytes;
    compress_(state_, reinterpret_cast<const uint8_t*>(data.data()), blocks);
    waiting_.assign(data.substr(blocks * kBlockBytes));
  }

  std::string hex() {
    const uint64_t bits = total_ * 8;
    std::string ending = "\x80";
    ending.append((kBlockBytes * 2 - 9 - total_ % kBlockBytes) % kBlockBytes, '\0');
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
  decltype(Sha256Way::compress) compress_;
  // The first 32 bits of the fractional parts of the square roots of the first 8 primes (section 5.3.3).
  State state_ = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
  std::string waiting_;
  uint64_t total_ = 0;
};

}  // namespace

const std::vector<Sha256Way>& sha256_ways() {
  static const std::vector<Sha256Way> kWays = [] {
    std::vector<Sha256Way> ways = sha256_instructions();
    ways.push_back({"portable", compress_portable});
    return ways;
  }();
  return kWays;
}

std::string sha256(std::string_view data) { return sha256(data, sha256_ways().front()); }

std::string sha256(std::string_view data, const Sha256Way& way) {
  Sha256 hash(way);
  hash.add(data);
  return hash.hex();
}

std::string sha256_of(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::vector<char> piece(kReadBytes);
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
