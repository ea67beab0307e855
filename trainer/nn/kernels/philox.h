#pragma once

#include <cstdint>

namespace wattle {

/// The stream of random bits that belongs to one row: Philox 4x32-10 (Salmon et al. 2011) with this
/// key and with counters (0, 1, 2, ...; stream; row).
struct PhiloxRow {
  uint64_t key = 0;
  uint32_t stream = 0;
  uint64_t row = 0;
};

/// out[i] = in[i] * scale where random number i of the row is at least `threshold`, else 0.
/// `in` may be `out`.
void philox_dropout(const PhiloxRow& row, uint32_t threshold, float scale, const float* in,
                    float* out, int64_t count);

/// out[i] = 1 or 0 in the same way.
void philox_mask(const PhiloxRow& row, uint32_t threshold, bool* out, int64_t count);

/// The finaliser of splitmix64: neighbouring numbers give unrelated ones.
inline uint64_t mixed(uint64_t bits) {
  bits = (bits ^ (bits >> 30)) * 0xbf58476d1ce4e5b9u;
  bits = (bits ^ (bits >> 27)) * 0x94d049bb133111ebu;
  return bits ^ (bits >> 31);
}

}  // namespace wattle
