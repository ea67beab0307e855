#include "trainer/nn/kernels/philox.h"

#include <algorithm>

#include "common/clones.h"

namespace wattle {
namespace {

/// 16 counters at a time give 64 numbers: number i of a chunk is word i / 16 of counter i % 16.
constexpr int kLanes = 16;
constexpr int kChunk = 4 * kLanes;

WATTLE_INLINE void philox_chunk(const PhiloxRow& row, uint32_t first, uint32_t* out) {
  uint32_t* c0 = out;
  uint32_t* c1 = out + kLanes;
  uint32_t* c2 = out + 2 * kLanes;
  uint32_t* c3 = out + 3 * kLanes;
  for (int i = 0; i < kLanes; ++i) {
    c0[i] = first + static_cast<uint32_t>(i);
    c1[i] = row.stream;
    c2[i] = static_cast<uint32_t>(row.row);
    c3[i] = static_cast<uint32_t>(row.row >> 32);
  }
  uint32_t k0 = static_cast<uint32_t>(row.key), k1 = static_cast<uint32_t>(row.key >> 32);
  for (int round = 0; round < 10; ++round) {
    for (int i = 0; i < kLanes; ++i) {
      const uint64_t a = uint64_t{0xD2511F53} * c0[i], b = uint64_t{0xCD9E8D57} * c2[i];
      c0[i] = static_cast<uint32_t>(b >> 32) ^ c1[i] ^ k0;
      c2[i] = static_cast<uint32_t>(a >> 32) ^ c3[i] ^ k1;
      c1[i] = static_cast<uint32_t>(b);
      c3[i] = static_cast<uint32_t>(a);
    }
    k0 += 0x9E3779B9;
    k1 += 0xBB67AE85;
  }
}

/// Calls use(begin, end, bits) for chunk after chunk of `count` numbers.
template <class Use>
WATTLE_INLINE void for_each_chunk(const PhiloxRow& row, int64_t count, const Use& use) {
  alignas(64) uint32_t bits[kChunk];
  for (int64_t begin = 0; begin < count; begin += kChunk) {
    philox_chunk(row, static_cast<uint32_t>(begin / 4), bits);
    use(begin, std::min(begin + kChunk, count), bits);
  }
}

}  // namespace

WATTLE_CLONES void philox_dropout(const PhiloxRow& row, uint32_t threshold, float scale,
                                  const float* in, float* out, int64_t count) {
  for_each_chunk(row, count, [&](int64_t begin, int64_t end, const uint32_t* bits) {
    for (int64_t i = begin; i < end; ++i) {
      out[i] = bits[i - begin] >= threshold ? in[i] * scale : 0.0f;
    }
  });
}

WATTLE_CLONES void philox_mask(const PhiloxRow& row, uint32_t threshold, bool* out, int64_t count) {
  for_each_chunk(row, count, [&](int64_t begin, int64_t end, const uint32_t* bits) {
    for (int64_t i = begin; i < end; ++i) out[i] = bits[i - begin] >= threshold;
  });
}

}  // namespace wattle
