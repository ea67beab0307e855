// Compiled with -ffp-contract=off: x * id + 8.5f must round twice, as it does in ggml.
#include "formats/gguf/blocks_of_32.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>

#include "common/clones.h"
#include "common/ordered_floats.h"
#include "formats/half.h"

namespace wattle {
namespace {

constexpr size_t kBlock = 32;
constexpr size_t kHalfBlock = kBlock / 2;

struct BlockQ4_0 {
  uint16_t scale;
  uint8_t nibbles[kHalfBlock];  ///< low: elements 0..15, high: 16..31
};
struct BlockQ4_1 {
  uint16_t scale;
  uint16_t minimum;
  uint8_t nibbles[kHalfBlock];
};
struct BlockQ8_0 {
  uint16_t scale;
  int8_t values[kBlock];
};
static_assert(sizeof(BlockQ4_0) == 18 && sizeof(BlockQ4_1) == 20 && sizeof(BlockQ8_0) == 34);

struct Range {
  float smallest;
  float largest;
  bool finite;
};

inline Range range_of(const float* x) {
  int32_t low = INT32_MAX;
  int32_t high = INT32_MIN;
  for (size_t j = 0; j < kBlock; ++j) {
    low = std::min(low, order_of(x[j]));
    high = std::max(high, order_of(x[j]));
  }
  return {float_at(low), float_at(high), is_finite_order(low) && is_finite_order(high)};
}

/// The first of the block's elements that compares equal to one of the two.
inline float first_of(const float* x, float a, float b) {
  for (size_t j = 0; j < kBlock; ++j) {
    if (x[j] == a || x[j] == b) return x[j];
  }
  return a;
}

/// The first element of the largest magnitude, 0 if all are 0.
inline float extreme_of(const float* x, const Range& range) {
  const float below = std::fabs(range.smallest);
  const float above = std::fabs(range.largest);
  if (below == 0.0f && above == 0.0f) return 0.0f;
  if (below == above) return first_of(x, range.smallest, range.largest);
  return above > below ? range.largest : range.smallest;
}

inline float reciprocal(float scale) {
  const float inverse = scale != 0.0f ? 1.0f / scale : 0.0f;
  return std::isinf(inverse) ? 0.0f : inverse;
}

inline bool representable(uint16_t f16) { return (f16 & 0x7c00u) != 0x7c00u; }

/// A block's numbers before they are packed.
struct Coded {
  int32_t codes[kBlock];
  uint16_t scale;    ///< f16, as `minimum`
  uint16_t minimum;  ///< of Q4_1
};

inline void pack_nibbles(const Coded& coded, uint8_t* nibbles) {
  for (size_t j = 0; j < kHalfBlock; ++j) {
    nibbles[j] = static_cast<uint8_t>(coded.codes[j] | (coded.codes[j + kHalfBlock] << 4));
  }
}

inline void unpack_nibbles(const uint8_t* nibbles, Coded& coded) {
  for (size_t j = 0; j < kHalfBlock; ++j) coded.codes[j] = nibbles[j] & 15;
  for (size_t j = 0; j < kHalfBlock; ++j) coded.codes[j + kHalfBlock] = nibbles[j] >> 4;
}

// Of each type: the codes of values (false if the block has no encoding), how they lie in the
// block, and the values of codes.

struct Q4_0 {
  using Block = BlockQ4_0;
  static bool code(const float* x, Coded& coded) {
    const Range range = range_of(x);
    const float scale = extreme_of(x, range) / -8.0f;
    const float inverse = reciprocal(scale);
    for (size_t j = 0; j < kBlock; ++j) {
      const float shifted = range.finite ? x[j] * inverse + 8.5f : 0.0f;
      coded.codes[j] = std::min(15, static_cast<int32_t>(shifted));
    }
    coded.scale = f16_from_float(scale);
    return range.finite && representable(coded.scale);
  }
  static void pack(const Coded& coded, Block& block) {
    block.scale = coded.scale;
    pack_nibbles(coded, block.nibbles);
  }
  static void unpack(const Block& block, Coded& coded) {
    coded.scale = block.scale;
    unpack_nibbles(block.nibbles, coded);
  }
  static void values(const Coded& coded, float* y) {
    const float scale = float_from_f16(coded.scale);
    for (size_t j = 0; j < kBlock; ++j) y[j] = static_cast<float>(coded.codes[j] - 8) * scale;
  }
};

struct Q4_1 {
  using Block = BlockQ4_1;
  static bool code(const float* x, Coded& coded) {
    const Range range = range_of(x);
    // Of zeros of both signs the reference keeps the first.
    const float smallest = range.smallest == 0.0f ? first_of(x, 0.0f, 0.0f) : range.smallest;
    const float scale = (range.largest - smallest) / 15.0f;
    const bool finite = range.finite && !std::isinf(scale);
    const float inverse = reciprocal(scale);
    for (size_t j = 0; j < kBlock; ++j) {
      const float shifted = finite ? (x[j] - smallest) * inverse + 0.5f : 0.0f;
      coded.codes[j] = std::min(15, static_cast<int32_t>(shifted));
    }
    coded.scale = f16_from_float(scale);
    coded.minimum = f16_from_float(smallest);
    return finite && representable(coded.scale) && representable(coded.minimum);
  }
  static void pack(const Coded& coded, Block& block) {
    block.scale = coded.scale;
    block.minimum = coded.minimum;
    pack_nibbles(coded, block.nibbles);
  }
  static void unpack(const Block& block, Coded& coded) {
    coded.scale = block.scale;
    coded.minimum = block.minimum;
    unpack_nibbles(block.nibbles, coded);
  }
  static void values(const Coded& coded, float* y) {
    const float scale = float_from_f16(coded.scale);
    const float minimum = float_from_f16(coded.minimum);
    for (size_t j = 0; j < kBlock; ++j) {
      y[j] = static_cast<float>(coded.codes[j]) * scale + minimum;
    }
  }
};

struct Q8_0 {
  using Block = BlockQ8_0;
  static bool code(const float* x, Coded& coded) {
    const Range range = range_of(x);
    const float scale = std::max(std::fabs(range.smallest), std::fabs(range.largest)) / 127.0f;
    const float inverse = reciprocal(scale);
    for (size_t j = 0; j < kBlock; ++j) {
      const float scaled = range.finite ? x[j] * inverse : 0.0f;
      // roundf: halves away from zero; the remainder is exact.
      const int32_t whole = static_cast<int32_t>(scaled);
      const float rest = scaled - static_cast<float>(whole);
      coded.codes[j] = whole + (rest >= 0.5f ? 1 : 0) - (rest <= -0.5f ? 1 : 0);
    }
    coded.scale = f16_from_float(scale);
    return range.finite && representable(coded.scale);
  }
  static void pack(const Coded& coded, Block& block) {
    block.scale = coded.scale;
    for (size_t j = 0; j < kBlock; ++j) block.values[j] = static_cast<int8_t>(coded.codes[j]);
  }
  static void unpack(const Block& block, Coded& coded) {
    coded.scale = block.scale;
    for (size_t j = 0; j < kBlock; ++j) coded.codes[j] = block.values[j];
  }
  static void values(const Coded& coded, float* y) {
    const float scale = float_from_f16(coded.scale);
    for (size_t j = 0; j < kBlock; ++j) y[j] = static_cast<float>(coded.codes[j]) * scale;
  }
};

/// Index of the first block that has no encoding, or `blocks`; as the next one.
template <typename Type>
WATTLE_INLINE size_t encode_blocks(const float* x, std::byte* bytes, size_t blocks) {
  for (size_t i = 0; i < blocks; ++i) {
    Coded coded;
    typename Type::Block block;
    if (!Type::code(x + i * kBlock, coded)) return i;
    Type::pack(coded, block);
    std::memcpy(bytes + i * sizeof(block), &block, sizeof(block));
  }
  return blocks;
}

template <typename Type>
WATTLE_INLINE size_t round_blocks(const float* x, float* y, size_t blocks) {
  for (size_t i = 0; i < blocks; ++i) {
    Coded coded;
    if (!Type::code(x + i * kBlock, coded)) return i;
    Type::values(coded, y + i * kBlock);
  }
  return blocks;
}

template <typename Type>
WATTLE_INLINE void decode_blocks(const std::byte* bytes, float* y, size_t blocks) {
  for (size_t i = 0; i < blocks; ++i) {
    Coded coded;
    typename Type::Block block;
    std::memcpy(&block, bytes + i * sizeof(block), sizeof(block));
    Type::unpack(block, coded);
    Type::values(coded, y + i * kBlock);
  }
}

}  // namespace

WATTLE_CLONES size_t encode_q4_0(const float* x, std::byte* bytes, size_t blocks) {
  return encode_blocks<Q4_0>(x, bytes, blocks);
}
WATTLE_CLONES size_t encode_q4_1(const float* x, std::byte* bytes, size_t blocks) {
  return encode_blocks<Q4_1>(x, bytes, blocks);
}
WATTLE_CLONES size_t encode_q8_0(const float* x, std::byte* bytes, size_t blocks) {
  return encode_blocks<Q8_0>(x, bytes, blocks);
}
WATTLE_CLONES size_t round_q4_0(const float* x, float* y, size_t blocks) {
  return round_blocks<Q4_0>(x, y, blocks);
}
WATTLE_CLONES size_t round_q4_1(const float* x, float* y, size_t blocks) {
  return round_blocks<Q4_1>(x, y, blocks);
}
WATTLE_CLONES size_t round_q8_0(const float* x, float* y, size_t blocks) {
  return round_blocks<Q8_0>(x, y, blocks);
}
WATTLE_CLONES size_t clip_q4_0(const float* x, float* gradient, size_t blocks) {
  for (size_t i = 0; i < blocks; ++i, x += kBlock, gradient += kBlock) {
    const float end = -7.5f / 8.0f * extreme_of(x, range_of(x));
    const float side = end < 0.0f ? -1.0f : 1.0f;
    const float length = end != 0.0f ? std::fabs(end) : INFINITY;
    float kept[kBlock];
    for (size_t j = 0; j < kBlock; ++j) kept[j] = x[j] * side > length ? 0.0f : gradient[j];
    std::memcpy(gradient, kept, sizeof(kept));
  }
  return blocks;
}
WATTLE_CLONES void decode_q4_0(const std::byte* bytes, float* y, size_t blocks) {
  decode_blocks<Q4_0>(bytes, y, blocks);
}
WATTLE_CLONES void decode_q4_1(const std::byte* bytes, float* y, size_t blocks) {
  decode_blocks<Q4_1>(bytes, y, blocks);
}
WATTLE_CLONES void decode_q8_0(const std::byte* bytes, float* y, size_t blocks) {
  decode_blocks<Q8_0>(bytes, y, blocks);
}

}  // namespace wattle
