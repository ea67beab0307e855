// Compiled with -ffp-contract=off: products and sums round as they do in ggml. The 16 groups of a
// block lie in the lanes of one vector, so that each group's sums keep their order.
#include "formats/gguf/q6_k.h"

#include <cmath>
#include <cstdint>
#include <cstring>

#include "formats/gguf/clones.h"
#include "formats/half.h"

#define WATTLE_INLINE [[gnu::always_inline]] inline

namespace wattle {
namespace {

constexpr size_t kBlock = 256;
constexpr size_t kGroups = 16;
constexpr size_t kGroup = kBlock / kGroups;
/// Codes that lie 128 values long next to each other: four of them share the bits above the fourth.
constexpr size_t kHalf = kBlock / 2;
constexpr size_t kQuarter = kHalf / 4;

constexpr float kLargestCode = 31;
constexpr float kSmallestCode = -32;
constexpr int32_t kOffset = 32;  ///< of codes as they are stored
constexpr float kVanishing = 1e-15f;
constexpr int kTries = 9;  ///< on either side

struct Block {
  uint8_t low[kHalf];       ///< four bits of each code
  uint8_t high[kHalf / 2];  ///< the two above them
  int8_t scales[kGroups];
  uint16_t scale;
};
static_assert(sizeof(Block) == 210);

/// One number of each group.
using Lanes [[gnu::vector_size(kGroups * sizeof(float))]] = float;
using Words [[gnu::vector_size(kGroups * sizeof(int32_t))]] = int32_t;

/// Values as [place in the group][group].
struct Groups {
  Lanes at[kGroup];
};

struct Fit {
  Lanes scale;
  Lanes inverse;  ///< of the search, of which the scale came
};

struct Sums {
  Lanes products;  ///< of x^2, x and code
  Lanes squares;   ///< of x^2 and code^2
};

WATTLE_INLINE Lanes magnitude(Lanes x) { return (Lanes)((Words)x & 0x7fffffff); }

constexpr float kRounding = 0x1.8p23f;

/// To the nearest integer, ties to even, for magnitudes below 2^22.
WATTLE_INLINE Lanes nearest(Lanes x) { return (x + kRounding) - kRounding; }

/// The same as an integer; beyond 2^22 it wraps, as ggml's does.
WATTLE_INLINE Words nearest_word(Lanes x) { return ((Words)(x + kRounding) & 0x7fffff) - 0x400000; }

WATTLE_INLINE Lanes clamp(Lanes code) {
  code = code > kLargestCode ? Lanes{} + kLargestCode : code;
  return code < kSmallestCode ? Lanes{} + kSmallestCode : code;
}

WATTLE_INLINE Words clamp(Words code) {
  constexpr int32_t kLow = -kOffset, kHigh = kOffset - 1;
  code = code > kHigh ? Words{} + kHigh : code;
  return code < kLow ? Words{} + kLow : code;
}

WATTLE_INLINE bool any(Words mask) {
  int32_t bits = 0;
  for (size_t g = 0; g < kGroups; ++g) bits |= mask[g];
  return bits != 0;
}

WATTLE_INLINE Groups groups_of(const float* x) {
  Groups groups;
  for (size_t i = 0; i < kGroup; ++i) {
    for (size_t g = 0; g < kGroups; ++g) groups.at[i][g] = x[g * kGroup + i];
  }
  return groups;
}

/// The first value of the largest magnitude in each group.
WATTLE_INLINE Lanes extremes_of(const Groups& x) {
  Lanes extreme = {}, largest = {};
  for (const Lanes& value : x.at) {
    const Words larger = magnitude(value) > largest;
    extreme = larger ? value : extreme;
    largest = larger ? magnitude(value) : largest;
  }
  return extreme;
}

WATTLE_INLINE Sums sums_at(Lanes inverse, const Groups& x, const Groups& squares,
                           const Groups& cubes) {
  Sums sums = {};
  for (size_t i = 0; i < kGroup; ++i) {
    const Lanes code = clamp(nearest(inverse * x.at[i]));
    sums.products += cubes.at[i] * code;
    sums.squares += squares.at[i] * code * code;
  }
  return sums;
}

WATTLE_INLINE Fit search(const Groups& x, Lanes extreme) {
  Groups squares, cubes;
  for (size_t i = 0; i < kGroup; ++i) {
    squares.at[i] = x.at[i] * x.at[i];
    cubes.at[i] = squares.at[i] * x.at[i];
  }
  Fit fit;
  fit.inverse = kSmallestCode / extreme;
  const Sums first = sums_at(fit.inverse, x, squares, cubes);
  fit.scale = first.squares != 0.0f ? first.products / first.squares : Lanes{};
  Lanes best = fit.scale * first.products;
  for (int k = -kTries; k <= kTries; ++k) {
    if (k == 0) continue;
    const Lanes inverse = -(-kSmallestCode + 0.1f * static_cast<float>(k)) / extreme;
    const Sums sums = sums_at(inverse, x, squares, cubes);
    const Words better =
        (sums.squares > 0.0f) & (sums.products * sums.products > best * sums.squares);
    const Lanes scale = sums.products / sums.squares;
    fit.inverse = better ? inverse : fit.inverse;
    fit.scale = better ? scale : fit.scale;
    best = better ? scale * sums.products : best;
  }
  const Words vanishes = magnitude(extreme) < kVanishing;
  fit.scale = vanishes ? Lanes{} : fit.scale;
  return fit;
}

/// The first scale of the largest magnitude.
WATTLE_INLINE float extreme_of(const Lanes& scales) {
  float extreme = 0;
  for (size_t g = 0; g < kGroups; ++g) {
    if (std::fabs(scales[g]) > std::fabs(extreme)) extreme = scales[g];
  }
  return extreme;
}

WATTLE_INLINE void pack(const uint8_t* codes, Block& block) {
  for (size_t half = 0; half < 2; ++half) {
    const uint8_t* code = codes + half * kHalf;
    uint8_t* low = block.low + half * kHalf / 2;
    uint8_t* high = block.high + half * kQuarter;
    for (size_t j = 0; j < 2 * kQuarter; ++j) {
      low[j] = static_cast<uint8_t>((code[j] & 15) | (code[j + 2 * kQuarter] << 4));
    }
    for (size_t j = 0; j < kQuarter; ++j) {
      high[j] = static_cast<uint8_t>((code[j] >> 4) | ((code[j + kQuarter] >> 4) << 2) |
                                     ((code[j + 2 * kQuarter] >> 4) << 4) |
                                     ((code[j + 3 * kQuarter] >> 4) << 6));
    }
  }
}

/// False if the block has no encoding.
WATTLE_INLINE bool encode_block(const float* values, Block& block) {
  const Groups x = groups_of(values);
  Words beyond = {};
  for (const Lanes& value : x.at) beyond |= ~(magnitude(value) < INFINITY);
  const Lanes extreme = extremes_of(x);
  const Fit fit = search(x, extreme);
  beyond |= ~(magnitude(fit.scale) < INFINITY);
  if (any(beyond)) return false;

  const float largest = extreme_of(fit.scale);
  if (std::fabs(largest) < kVanishing) {
    std::memset(&block, 0, sizeof(block));
    return true;
  }
  const float inverse = -128.0f / largest;
  block.scale = f16_from_float(1 / inverse);
  if ((block.scale & 0x7c00u) == 0x7c00u) return false;
  Lanes scale = nearest(inverse * fit.scale);
  scale = scale > 127.0f ? Lanes{} + 127.0f : scale;
  const Lanes step = float_from_f16(block.scale) * scale;

  // Where a group's scale has vanished, the codes of the search stay, and of zeros 0.
  const Words vanishes = magnitude(extreme) < kVanishing;
  alignas(64) uint8_t codes[kBlock];
  for (size_t i = 0; i < kGroup; ++i) {
    const Words searched = clamp(nearest_word(fit.inverse * x.at[i])) + kOffset;
    const Words kept = vanishes ? Words{} : searched;
    const Words code = step == 0.0f ? kept : clamp(nearest_word(x.at[i] / step)) + kOffset;
    for (size_t g = 0; g < kGroups; ++g) codes[g * kGroup + i] = static_cast<uint8_t>(code[g]);
  }
  for (size_t g = 0; g < kGroups; ++g) block.scales[g] = static_cast<int8_t>(scale[g]);
  pack(codes, block);
  return true;
}

WATTLE_INLINE void decode_block(const Block& block, float* y) {
  const float scale = float_from_f16(block.scale);
  for (size_t g = 0; g < kGroups; ++g) {
    const size_t half = g / 8, quarter = g % 8 / 2, odd = g % 2;
    const uint8_t* low = block.low + half * kHalf / 2 + (quarter % 2) * kQuarter + odd * kGroup;
    const uint8_t* high = block.high + half * kQuarter + odd * kGroup;
    const float step = scale * static_cast<float>(block.scales[g]);
    const size_t nibble = quarter < 2 ? 0 : 4;
    for (size_t j = 0; j < kGroup; ++j) {
      const int32_t code = ((low[j] >> nibble) & 15) | (((high[j] >> (2 * quarter)) & 3) << 4);
      y[g * kGroup + j] = step * static_cast<float>(code - kOffset);
    }
  }
}

}  // namespace

WATTLE_CLONES size_t encode_q6_k(const float* x, std::byte* bytes, size_t blocks) {
  for (size_t i = 0; i < blocks; ++i) {
    Block block;
    if (!encode_block(x + i * kBlock, block)) return i;
    std::memcpy(bytes + i * sizeof(Block), &block, sizeof(Block));
  }
  return blocks;
}

WATTLE_CLONES void decode_q6_k(const std::byte* bytes, float* y, size_t blocks) {
  for (size_t i = 0; i < blocks; ++i) {
    Block block;
    std::memcpy(&block, bytes + i * sizeof(Block), sizeof(Block));
    decode_block(block, y + i * kBlock);
  }
}

}  // namespace wattle
