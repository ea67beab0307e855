// Compiled with -ffp-contract=off: products and sums round as they do in ggml.
#include "formats/gguf/q6_k.h"

#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <iterator>

#include "common/clones.h"
#include "formats/half.h"

namespace wattle {
namespace {

constexpr size_t kBlock = 256;
constexpr size_t kGroups = 16;
constexpr size_t kGroup = kBlock / kGroups;
/// Codes are stored in halves of a block: the low nibbles of two quarters of a half share bytes,
/// and the upper bits of all four.
constexpr size_t kHalf = kBlock / 2;
constexpr size_t kQuarter = kHalf / 4;

constexpr int32_t kOffset = 32;  ///< of codes as they are stored
constexpr int32_t kSmallestCode = -kOffset;
constexpr int32_t kLargestCode = kOffset - 1;
constexpr float kVanishing = 1e-15f;
constexpr int kTries = 9;  ///< on either side

struct Block {
  uint8_t low[kHalf];       ///< four bits of each code
  uint8_t high[kHalf / 2];  ///< the two above them
  int8_t scales[kGroups];
  uint16_t scale;
};
static_assert(sizeof(Block) == 210);

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

/// So many numbers side by side.
template <size_t kLanes>
struct Vectors;
template <>
struct Vectors<4> {
  using Floats [[gnu::vector_size(16)]] = float;
  using Words [[gnu::vector_size(16)]] = int32_t;
};
template <>
struct Vectors<8> {
  using Floats [[gnu::vector_size(32)]] = float;
  using Words [[gnu::vector_size(32)]] = int32_t;
};
template <>
struct Vectors<16> {
  using Floats [[gnu::vector_size(64)]] = float;
  using Words [[gnu::vector_size(64)]] = int32_t;
};

/// Encodes blocks. So many groups lie in the lanes of a vector, as many as the processor's have, so
/// that the sums of each group keep their order.
template <size_t kLanes>
class Encoder {
 public:
  WATTLE_INLINE static size_t encode(const float* x, std::byte* bytes, size_t blocks) {
    for (size_t i = 0; i < blocks; ++i) {
      Block block;
      if (!encode_block(x + i * kBlock, block)) return i;
      std::memcpy(bytes + i * sizeof(Block), &block, sizeof(Block));
    }
    return blocks;
  }

 private:
  /// A number of each group.
  using Lanes = typename Vectors<kLanes>::Floats;
  using Words = typename Vectors<kLanes>::Words;

  /// Values as [place in the group][group].
  struct Values {
    Lanes at[kGroup];
  };

  /// Groups, with the scale that the search gives them and the inverse scale that led to it.
  struct Part {
    Values x;
    Lanes extreme;  ///< the first value of the largest magnitude
    Lanes scale;
    Lanes inverse;
  };

  /// Weighted by x^2: sums of x * code and of code^2.
  struct Sums {
    Lanes products;
    Lanes squares;
  };

  static constexpr float kRounding = 0x1.8p23f;

  WATTLE_INLINE static Lanes magnitude(Lanes x) { return (Lanes)((Words)x & 0x7fffffff); }

  /// To the nearest integer, ties to even, for magnitudes below 2^22.
  WATTLE_INLINE static Lanes nearest(Lanes x) { return (x + kRounding) - kRounding; }

  /// Which of the two ends a code may lie beyond.
  enum class Ends { kNone, kHigh, kBoth };

  /// The same, from -32 to 31.
  template <Ends kEnds>
  WATTLE_INLINE static Lanes code_at(Lanes position) {
    const Lanes code = nearest(position);
    const Lanes high = Lanes{} + static_cast<float>(kLargestCode);
    const Lanes low = Lanes{} + static_cast<float>(kSmallestCode);
    if constexpr (kEnds == Ends::kNone) return code;
    const Lanes below = code < high ? code : high;
    if constexpr (kEnds == Ends::kHigh) return below;
    return below > low ? below : low;
  }

  /// As it is stored; a position beyond 2^22 wraps, as ggml's does.
  WATTLE_INLINE static Words stored_code_at(Lanes position) {
    const Words code = ((Words)(position + kRounding) & 0x7fffff) - 0x400000;
    const Words below = code < kLargestCode ? code : Words{} + kLargestCode;
    return (below > kSmallestCode ? below : Words{} + kSmallestCode) + kOffset;
  }

  WATTLE_INLINE static Values values_of(const float* x) {
    Values values;
    for (size_t i = 0; i < kGroup; ++i) {
      for (size_t g = 0; g < kLanes; ++g) values.at[i][g] = x[g * kGroup + i];
    }
    return values;
  }

  WATTLE_INLINE static Lanes extremes_of(const Values& x) {
    Lanes largest = {}, extreme = {};
    for (const Lanes& value : x.at) {
      largest = magnitude(value) > largest ? magnitude(value) : largest;
    }
    for (size_t i = kGroup; i-- > 0;) {
      extreme = magnitude(x.at[i]) == largest ? x.at[i] : extreme;
    }
    return extreme;
  }

  template <Ends kEnds>
  WATTLE_INLINE static Sums sums_at(Lanes inverse, const Values& x, const Values& squares,
                                    const Values& cubes) {
    Sums sums = {};
    for (size_t i = 0; i < kGroup; ++i) {
      const Lanes code = code_at<kEnds>(inverse * x.at[i]);
      sums.products += cubes.at[i] * code;
      sums.squares += squares.at[i] * code * code;
    }
    return sums;
  }

  /// The best that was found so far, and the sum that it explains.
  struct Found {
    Part& part;
    Lanes best;
  };

  /// Tries scales that have the extreme at -(32 + k / 10), k from kFirst to kLast.
  template <int kFirst, int kLast, Ends kEnds>
  WATTLE_INLINE static void try_scales(Found& found, const Values& squares, const Values& cubes) {
    Part& part = found.part;
    for (int k = kFirst; k <= kLast; ++k) {
      if (k == 0) continue;
      const Lanes inverse = -(kOffset + 0.1f * static_cast<float>(k)) / part.extreme;
      const Sums sums = sums_at<kEnds>(inverse, part.x, squares, cubes);
      // ggml also asks for squares above 0: where they are 0, the products are too.
      const Lanes explained = sums.products * sums.products, least = found.best * sums.squares;
      const Lanes scale = sums.products / sums.squares;
      part.inverse = explained > least ? inverse : part.inverse;
      part.scale = explained > least ? scale : part.scale;
      found.best = explained > least ? scale * sums.products : found.best;
    }
  }

  /// The extreme lies on the low side, the others are no further from 0 than it: codes reach the
  /// high end where it is at -31.5 or below, and go beyond the low end only where it is at -32.5.
  WATTLE_INLINE static void search(Part& part) {
    Values squares, cubes;
    for (size_t i = 0; i < kGroup; ++i) {
      squares.at[i] = part.x.at[i] * part.x.at[i];
      cubes.at[i] = squares.at[i] * part.x.at[i];
    }
    part.inverse = static_cast<float>(kSmallestCode) / part.extreme;
    const Sums first = sums_at<Ends::kHigh>(part.inverse, part.x, squares, cubes);
    part.scale = first.squares != 0.0f ? first.products / first.squares : Lanes{};
    Found found{part, part.scale * first.products};
    try_scales<-kTries, -6, Ends::kNone>(found, squares, cubes);
    try_scales<-5, 4, Ends::kHigh>(found, squares, cubes);
    try_scales<5, kTries, Ends::kBoth>(found, squares, cubes);
    part.scale = magnitude(part.extreme) < kVanishing ? Lanes{} : part.scale;
  }

  /// Whether all values, and their scales, are finite. Bits of magnitudes order as they do.
  WATTLE_INLINE static bool is_finite(const Part& part) {
    constexpr int32_t kInfinity = 0x7f800000;
    Words top = (Words)magnitude(part.scale);
    for (const Lanes& value : part.x.at) {
      const Words bits = (Words)magnitude(value);
      top = bits > top ? bits : top;
    }
    bool finite = true;
    for (size_t g = 0; g < kLanes; ++g) finite &= top[g] < kInfinity;
    return finite;
  }

  /// As it is stored. Where a group's step has vanished, the code of the search stays, and of zeros
  /// 0.
  template <bool kVanishes>
  WATTLE_INLINE static Words code_of(const Part& part, Lanes step, size_t i) {
    const Words code = stored_code_at(part.x.at[i] / step);
    if constexpr (!kVanishes) return code;
    const Words searched = stored_code_at(part.inverse * part.x.at[i]);
    const Words kept = magnitude(part.extreme) < kVanishing ? Words{} : searched;
    return step == 0.0f ? kept : code;
  }

  /// Neighbours of a group make one word.
  template <bool kVanishes>
  WATTLE_INLINE static void put_codes(const Part& part, Lanes step, uint8_t* codes) {
    static_assert(std::endian::native == std::endian::little);
    for (size_t i = 0; i < kGroup; i += sizeof(int32_t)) {
      Words four = {};
      for (size_t byte = 0; byte < sizeof(int32_t); ++byte) {
        four |= code_of<kVanishes>(part, step, i + byte) << (8 * static_cast<int32_t>(byte));
      }
      for (size_t g = 0; g < kLanes; ++g) {
        const int32_t word = four[g];
        std::memcpy(codes + g * kGroup + i, &word, sizeof(word));
      }
    }
  }

  WATTLE_INLINE static void codes_of(const Part& part, Lanes step, uint8_t* codes) {
    bool vanishes = false;
    for (size_t g = 0; g < kLanes; ++g) vanishes |= step[g] == 0.0f;
    vanishes ? put_codes<true>(part, step, codes) : put_codes<false>(part, step, codes);
  }

  /// False if the block has no encoding.
  WATTLE_INLINE static bool encode_block(const float* values, Block& block) {
    Part parts[kGroups / kLanes];
    float largest = 0;  // the first scale of the largest magnitude
    for (size_t p = 0; p < std::size(parts); ++p) {
      parts[p].x = values_of(values + p * kLanes * kGroup);
      parts[p].extreme = extremes_of(parts[p].x);
      search(parts[p]);
      if (!is_finite(parts[p])) return false;
      for (size_t g = 0; g < kLanes; ++g) {
        const float scale = parts[p].scale[g];
        if (std::fabs(scale) > std::fabs(largest)) largest = scale;
      }
    }
    if (std::fabs(largest) < kVanishing) {
      std::memset(&block, 0, sizeof(block));
      return true;
    }
    const float inverse = -128.0f / largest;
    block.scale = f16_from_float(1 / inverse);
    if ((block.scale & 0x7c00u) == 0x7c00u) return false;
    alignas(64) uint8_t codes[kBlock];
    for (size_t p = 0; p < std::size(parts); ++p) {
      const Lanes rounded = nearest(inverse * parts[p].scale);
      const Lanes scale = rounded < 127.0f ? rounded : Lanes{} + 127.0f;
      codes_of(parts[p], float_from_f16(block.scale) * scale, codes + p * kLanes * kGroup);
      for (size_t g = 0; g < kLanes; ++g) {
        block.scales[p * kLanes + g] = static_cast<int8_t>(scale[g]);
      }
    }
    pack(codes, block);
    return true;
  }
};

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

WATTLE_CLONES void clip_block(const Block& block, const float* x, float* gradient) {
  constexpr float kLow = kSmallestCode - 0.5f, kHigh = kLargestCode + 0.5f;
  const float scale = float_from_f16(block.scale);
  for (size_t g = 0; g < kGroups; ++g) {
    const float step = scale * static_cast<float>(block.scales[g]);
    if (step == 0.0f) continue;
    for (size_t i = g * kGroup; i < (g + 1) * kGroup; ++i) {
      const float position = x[i] / step;
      gradient[i] = (position < kLow) | (position > kHigh) ? 0.0f : gradient[i];
    }
  }
}

#ifdef WATTLE_HAS_CLONES
[[gnu::target("avx512f")]] size_t encode_by_16(const float* x, std::byte* bytes, size_t blocks) {
  return Encoder<16>::encode(x, bytes, blocks);
}
[[gnu::target("avx2")]] size_t encode_by_8(const float* x, std::byte* bytes, size_t blocks) {
  return Encoder<8>::encode(x, bytes, blocks);
}
#endif

}  // namespace

size_t encode_q6_k(const float* x, std::byte* bytes, size_t blocks) {
#ifdef WATTLE_HAS_CLONES
  if (__builtin_cpu_supports("avx512f")) return encode_by_16(x, bytes, blocks);
  if (__builtin_cpu_supports("avx2")) return encode_by_8(x, bytes, blocks);
#endif
  return Encoder<4>::encode(x, bytes, blocks);
}

size_t round_q6_k(const float* x, float* y, size_t blocks) {
  std::byte bytes[sizeof(Block)];
  for (size_t i = 0; i < blocks; ++i) {
    if (encode_q6_k(x + i * kBlock, bytes, 1) != 1) return i;
    decode_q6_k(bytes, y + i * kBlock, 1);
  }
  return blocks;
}

size_t clip_q6_k(const float* x, float* gradient, size_t blocks) {
  for (size_t i = 0; i < blocks; ++i, x += kBlock, gradient += kBlock) {
    Block block;
    if (encode_q6_k(x, reinterpret_cast<std::byte*>(&block), 1) != 1) return i;
    clip_block(block, x, gradient);
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
