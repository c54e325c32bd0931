#include "sha256_cpu.h"

#if defined(__x86_64__)
#include <cpuid.h>
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#if defined(__linux__)
#include <asm/hwcap.h>
#include <sys/auxv.h>
#endif
#endif

namespace edge {

#if defined(__x86_64__)
namespace {

// The instructions want the words a, b, e, f in one register and c, d, g, h in the other, the highest lane first. They
// make two rounds, after which the old abef is the new cdgh: what is made of cdgh takes its place.
__attribute__((target("sha,sse4.1"))) void compress_x86(std::array<uint32_t, 8>& state, const uint8_t* data, size_t blocks) {
  const auto word = [](uint32_t value) { return static_cast<int>(value); };
  const auto& [a, b, c, d, e, f, g, h] = state;
  __m128i abef = _mm_set_epi32(word(a), word(b), word(e), word(f));
  __m128i cdgh = _mm_set_epi32(word(c), word(d), word(g), word(h));
  const __m128i big_endian = _mm_set_epi8(12, 13, 14, 15, 8, 9, 10, 11, 4, 5, 6, 7, 0, 1, 2, 3);
  for (; blocks > 0; --blocks, data += 64) {
    const __m128i abef_before = abef, cdgh_before = cdgh;
    const auto* from = reinterpret_cast<const __m128i*>(data);
    __m128i words[4];
    for (int part = 0; part < 4; ++part) words[part] = _mm_shuffle_epi8(_mm_loadu_si128(from + part), big_endian);
    for (int round = 0; round < 64; round += 4) {
      const __m128i constants = _mm_load_si128(reinterpret_cast<const __m128i*>(kSha256Rounds + round));
      const __m128i added = _mm_add_epi32(words[0], constants);
      cdgh = _mm_sha256rnds2_epu32(cdgh, abef, added);
      abef = _mm_sha256rnds2_epu32(abef, cdgh, _mm_shuffle_epi32(added, 0x0E));  // the upper two words
      const __m128i sevenths = _mm_alignr_epi8(words[3], words[2], 4);
      const __m128i early = _mm_add_epi32(_mm_sha256msg1_epu32(words[0], words[1]), sevenths);
      const __m128i next = _mm_sha256msg2_epu32(early, words[3]);  // of the last four rounds, nobody's
      words[0] = words[1], words[1] = words[2], words[2] = words[3], words[3] = next;
    }
    abef = _mm_add_epi32(abef, abef_before);
    cdgh = _mm_add_epi32(cdgh, cdgh_before);
  }
  alignas(16) uint32_t upper[4], lower[4];
  _mm_store_si128(reinterpret_cast<__m128i*>(upper), abef);
  _mm_store_si128(reinterpret_cast<__m128i*>(lower), cdgh);
  state = {upper[3], upper[2], lower[3], lower[2], upper[1], upper[0], lower[1], lower[0]};
}

bool has_instructions() {
  constexpr unsigned kSse41 = 1u << 19, kSha = 1u << 29;
  unsigned a, b, c, d;
  if (!__get_cpuid(1, &a, &b, &c, &d) || (c & kSse41) == 0) return false;
  return __get_cpuid_count(7, 0, &a, &b, &c, &d) && (b & kSha) != 0;
}

}  // namespace

std::vector<Sha256Way> sha256_instructions() {
  if (!has_instructions()) return {};
  return {{"x86", compress_x86}};
}

#elif defined(__aarch64__)
namespace {

// clang names the feature by itself, GCC among others.
#if defined(__clang__)
#define EDGE_SHA2 __attribute__((target("sha2")))
#else
#define EDGE_SHA2 __attribute__((target("+crypto")))
#endif

EDGE_SHA2 void compress_arm(std::array<uint32_t, 8>& state, const uint8_t* data, size_t blocks) {
  uint32x4_t abcd = vld1q_u32(&state[0]), efgh = vld1q_u32(&state[4]);
  for (; blocks > 0; --blocks, data += 64) {
    const uint32x4_t abcd_before = abcd, efgh_before = efgh;
    uint32x4_t words[4];
    for (int part = 0; part < 4; ++part) words[part] = vreinterpretq_u32_u8(vrev32q_u8(vld1q_u8(data + 16 * part)));
    for (int round = 0; round < 64; round += 4) {
      const uint32x4_t added = vaddq_u32(words[0], vld1q_u32(kSha256Rounds + round)), before = abcd;
      abcd = vsha256hq_u32(abcd, efgh, added);
      efgh = vsha256h2q_u32(efgh, before, added);
      const uint32x4_t early = vsha256su0q_u32(words[0], words[1]);
      const uint32x4_t next = vsha256su1q_u32(early, words[2], words[3]);  // of the last four rounds, nobody's
      words[0] = words[1], words[1] = words[2], words[2] = words[3], words[3] = next;
    }
    abcd = vaddq_u32(abcd, abcd_before);
    efgh = vaddq_u32(efgh, efgh_before);
  }
  vst1q_u32(&state[0], abcd);
  vst1q_u32(&state[4], efgh);
}

bool has_instructions() {
#if defined(__linux__)  // Android too
  return (getauxval(AT_HWCAP) & HWCAP_SHA2) != 0;
#elif defined(__APPLE__)  // every 64-bit Arm CPU of theirs
  return true;
#else
  return false;
#endif
}

}  // namespace

std::vector<Sha256Way> sha256_instructions() {
  if (!has_instructions()) return {};
  return {{"arm", compress_arm}};
}

#else
std::vector<Sha256Way> sha256_instructions() { return {}; }
#endif

}  // namespace edge
