// Compiled with -ffp-contract=off: x * id + 8.5f must round twice, as it does in ggml.
#include "formats/gguf/ggml_blocks.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>

#include "common/clones.h"
#include "common/error.h"
#include "formats/gguf/q6_k.h"
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

/// Floats order as these integers do, so that minimum and maximum are integer reductions, which
/// vectorise; -0 comes before +0, NaN and infinities lie at both ends. Its own inverse.
inline int32_t ordered(int32_t float_bits) {
  return float_bits ^ ((float_bits >> 31) & 0x7fffffff);
}
constexpr int32_t kOrderedInfinity = 0x7f800000;

struct Range {
  float smallest;
  float largest;
  bool finite;
};

inline Range range_of(const float* x) {
  int32_t low = INT32_MAX;
  int32_t high = INT32_MIN;
  for (size_t j = 0; j < kBlock; ++j) {
    const int32_t key = ordered(std::bit_cast<int32_t>(x[j]));
    low = std::min(low, key);
    high = std::max(high, key);
  }
  return {std::bit_cast<float>(ordered(low)), std::bit_cast<float>(ordered(high)),
          low > ~kOrderedInfinity && high < kOrderedInfinity};
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

// Each coder returns false if the block has no encoding.

inline bool encode_block(const float* x, BlockQ4_0& block) {
  const Range range = range_of(x);
  const float scale = extreme_of(x, range) / -8.0f;
  const float inverse = reciprocal(scale);
  uint8_t codes[kBlock];
  for (size_t j = 0; j < kBlock; ++j) {
    const float shifted = range.finite ? x[j] * inverse + 8.5f : 0.0f;
    codes[j] = static_cast<uint8_t>(std::min(15, static_cast<int32_t>(shifted)));
  }
  for (size_t j = 0; j < kHalfBlock; ++j) {
    block.nibbles[j] = static_cast<uint8_t>(codes[j] | (codes[j + kHalfBlock] << 4));
  }
  block.scale = f16_from_float(scale);
  return range.finite && representable(block.scale);
}

inline bool encode_block(const float* x, BlockQ4_1& block) {
  const Range range = range_of(x);
  // Of zeros of both signs the reference keeps the first.
  const float smallest = range.smallest == 0.0f ? first_of(x, 0.0f, 0.0f) : range.smallest;
  const float scale = (range.largest - smallest) / 15.0f;
  const bool finite = range.finite && !std::isinf(scale);
  const float inverse = reciprocal(scale);
  uint8_t codes[kBlock];
  for (size_t j = 0; j < kBlock; ++j) {
    const float shifted = finite ? (x[j] - smallest) * inverse + 0.5f : 0.0f;
    codes[j] = static_cast<uint8_t>(std::min(15, static_cast<int32_t>(shifted)));
  }
  for (size_t j = 0; j < kHalfBlock; ++j) {
    block.nibbles[j] = static_cast<uint8_t>(codes[j] | (codes[j + kHalfBlock] << 4));
  }
  block.scale = f16_from_float(scale);
  block.minimum = f16_from_float(smallest);
  return finite && representable(block.scale) && representable(block.minimum);
}

inline bool encode_block(const float* x, BlockQ8_0& block) {
  const Range range = range_of(x);
  const float scale = std::max(std::fabs(range.smallest), std::fabs(range.largest)) / 127.0f;
  const float inverse = reciprocal(scale);
  for (size_t j = 0; j < kBlock; ++j) {
    const float scaled = range.finite ? x[j] * inverse : 0.0f;
    // roundf: halves away from zero; the remainder is exact.
    const int32_t whole = static_cast<int32_t>(scaled);
    const float rest = scaled - static_cast<float>(whole);
    const int32_t rounded = whole + (rest >= 0.5f ? 1 : 0) - (rest <= -0.5f ? 1 : 0);
    block.values[j] = static_cast<int8_t>(rounded);
  }
  block.scale = f16_from_float(scale);
  return range.finite && representable(block.scale);
}

inline void decode_block(const BlockQ4_0& block, float* y) {
  const float scale = float_from_f16(block.scale);
  for (size_t j = 0; j < kHalfBlock; ++j) {
    y[j] = static_cast<float>((block.nibbles[j] & 15) - 8) * scale;
    y[j + kHalfBlock] = static_cast<float>((block.nibbles[j] >> 4) - 8) * scale;
  }
}

inline void decode_block(const BlockQ4_1& block, float* y) {
  const float scale = float_from_f16(block.scale);
  const float minimum = float_from_f16(block.minimum);
  for (size_t j = 0; j < kHalfBlock; ++j) {
    y[j] = static_cast<float>(block.nibbles[j] & 15) * scale + minimum;
    y[j + kHalfBlock] = static_cast<float>(block.nibbles[j] >> 4) * scale + minimum;
  }
}

inline void decode_block(const BlockQ8_0& block, float* y) {
  const float scale = float_from_f16(block.scale);
  for (size_t j = 0; j < kBlock; ++j) y[j] = static_cast<float>(block.values[j]) * scale;
}

/// Index of the first block that has no encoding, or `blocks`.
template <typename Block>
inline __attribute__((always_inline)) size_t encode_blocks(const float* x, std::byte* bytes,
                                                           size_t blocks) {
  for (size_t i = 0; i < blocks; ++i) {
    Block block;
    if (!encode_block(x + i * kBlock, block)) return i;
    std::memcpy(bytes + i * sizeof(Block), &block, sizeof(Block));
  }
  return blocks;
}

template <typename Block>
inline __attribute__((always_inline)) void decode_blocks(const std::byte* bytes, float* y,
                                                         size_t blocks) {
  for (size_t i = 0; i < blocks; ++i) {
    Block block;
    std::memcpy(&block, bytes + i * sizeof(Block), sizeof(Block));
    decode_block(block, y + i * kBlock);
  }
}

WATTLE_CLONES size_t encode_q4_0(const float* x, std::byte* bytes, size_t blocks) {
  return encode_blocks<BlockQ4_0>(x, bytes, blocks);
}
WATTLE_CLONES size_t encode_q4_1(const float* x, std::byte* bytes, size_t blocks) {
  return encode_blocks<BlockQ4_1>(x, bytes, blocks);
}
WATTLE_CLONES size_t encode_q8_0(const float* x, std::byte* bytes, size_t blocks) {
  return encode_blocks<BlockQ8_0>(x, bytes, blocks);
}
WATTLE_CLONES void decode_q4_0(const std::byte* bytes, float* y, size_t blocks) {
  decode_blocks<BlockQ4_0>(bytes, y, blocks);
}
WATTLE_CLONES void decode_q4_1(const std::byte* bytes, float* y, size_t blocks) {
  decode_blocks<BlockQ4_1>(bytes, y, blocks);
}
WATTLE_CLONES void decode_q8_0(const std::byte* bytes, float* y, size_t blocks) {
  decode_blocks<BlockQ8_0>(bytes, y, blocks);
}

template <uint16_t (*round)(float)>
inline __attribute__((always_inline)) size_t encode_halves(const float* x, std::byte* bytes,
                                                           size_t count) {
  for (size_t i = 0; i < count; ++i) {
    const uint16_t half = round(x[i]);
    std::memcpy(bytes + i * sizeof(half), &half, sizeof(half));
  }
  return count;
}

template <float (*widen)(uint16_t)>
inline __attribute__((always_inline)) void decode_halves(const std::byte* bytes, float* y,
                                                         size_t count) {
  for (size_t i = 0; i < count; ++i) {
    uint16_t half;
    std::memcpy(&half, bytes + i * sizeof(half), sizeof(half));
    y[i] = widen(half);
  }
}

WATTLE_CLONES size_t encode_f16(const float* x, std::byte* bytes, size_t count) {
  return encode_halves<f16_from_float>(x, bytes, count);
}
WATTLE_CLONES size_t encode_bf16(const float* x, std::byte* bytes, size_t count) {
  return encode_halves<bf16_from_float>(x, bytes, count);
}
WATTLE_CLONES void decode_f16(const std::byte* bytes, float* y, size_t count) {
  decode_halves<float_from_f16>(bytes, y, count);
}
WATTLE_CLONES void decode_bf16(const std::byte* bytes, float* y, size_t count) {
  decode_halves<float_from_bf16>(bytes, y, count);
}

size_t encode_f32(const float* x, std::byte* bytes, size_t count) {
  if (count > 0) std::memcpy(bytes, x, count * sizeof(float));
  return count;
}
void decode_f32(const std::byte* bytes, float* y, size_t count) {
  if (count > 0) std::memcpy(y, bytes, count * sizeof(float));
}

struct Codec {
  DType dtype;
  size_t (*encode)(const float*, std::byte*, size_t blocks);
  void (*decode)(const std::byte*, float*, size_t blocks);
};

constexpr Codec kCodecs[] = {
    {DType::kF32, encode_f32, decode_f32},    {DType::kF16, encode_f16, decode_f16},
    {DType::kBF16, encode_bf16, decode_bf16}, {DType::kQ4_0, encode_q4_0, decode_q4_0},
    {DType::kQ4_1, encode_q4_1, decode_q4_1}, {DType::kQ8_0, encode_q8_0, decode_q8_0},
    {DType::kQ6_K, encode_q6_k, decode_q6_k},
};

const Codec* find_codec(DType dtype) {
  const auto found = std::find_if(std::begin(kCodecs), std::end(kCodecs),
                                  [dtype](const Codec& codec) { return codec.dtype == dtype; });
  return found == std::end(kCodecs) ? nullptr : found;
}

const Codec& codec_of(DType dtype) {
  if (const Codec* codec = find_codec(dtype)) return *codec;
  throw Error(
      ErrorCode::kUnsupported,
      fmt::format("tensor type {} ({} elements in {} bytes) has no codec here; F32, F16, "
                  "BF16, Q4_0, Q4_1, Q8_0 and Q6_K have one",
                  name_of(dtype), traits_of(dtype).block_elements, traits_of(dtype).block_bytes));
}

size_t block_count(DType dtype, size_t bytes, size_t elements) {
  const DTypeTraits& traits = traits_of(dtype);
  const size_t blocks = elements / traits.block_elements;
  if (elements % traits.block_elements == 0 && bytes == blocks * traits.block_bytes) return blocks;
  throw Error(ErrorCode::kInternal,
              fmt::format("{} elements of {} don't fill {} bytes", elements, traits.name, bytes));
}

}  // namespace

bool has_codec(DType dtype) { return find_codec(dtype) != nullptr; }

void decode(DType dtype, std::span<const std::byte> bytes, std::span<float> values) {
  const Codec& codec = codec_of(dtype);
  codec.decode(bytes.data(), values.data(), block_count(dtype, bytes.size(), values.size()));
}

void encode(DType dtype, std::span<const float> values, std::span<std::byte> bytes) {
  const Codec& codec = codec_of(dtype);
  const size_t blocks = block_count(dtype, bytes.size(), values.size());
  const size_t encoded = codec.encode(values.data(), bytes.data(), blocks);
  if (encoded == blocks) return;
  const size_t first = encoded * traits_of(dtype).block_elements;
  throw Error(ErrorCode::kNonFinite,
              fmt::format("elements {} to {} can't be encoded as {}: one is not finite, or their "
                          "scale is beyond f16",
                          first, first + traits_of(dtype).block_elements - 1, name_of(dtype)));
}

}  // namespace wattle
