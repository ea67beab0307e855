#include "formats/gguf/ggml_blocks.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>

#include "common/clones.h"
#include "common/error.h"
#include "formats/gguf/blocks_of_32.h"
#include "formats/gguf/q6_k.h"
#include "formats/gguf/tq2_0.h"
#include "formats/half.h"

namespace wattle {
namespace {

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
  size_t (*round)(const float*, float*, size_t blocks) = nullptr;
  size_t (*clip)(const float*, float*, size_t blocks) = nullptr;
};

constexpr Codec kCodecs[] = {
    {DType::kF32, encode_f32, decode_f32},
    {DType::kF16, encode_f16, decode_f16},
    {DType::kBF16, encode_bf16, decode_bf16},
    {DType::kQ4_0, encode_q4_0, decode_q4_0, round_q4_0, clip_q4_0},
    {DType::kQ4_1, encode_q4_1, decode_q4_1, round_q4_1},
    {DType::kQ8_0, encode_q8_0, decode_q8_0, round_q8_0},
    {DType::kQ6_K, encode_q6_k, decode_q6_k, round_q6_k, clip_q6_k},
    {DType::kTQ2_0, encode_tq2_0, decode_tq2_0, round_tq2_0},
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
                  "BF16, Q4_0, Q4_1, Q8_0, Q6_K and TQ2_0 have one",
                  name_of(dtype), traits_of(dtype).block_elements, traits_of(dtype).block_bytes));
}

size_t block_count(DType dtype, size_t bytes, size_t elements) {
  const DTypeTraits& traits = traits_of(dtype);
  const size_t blocks = elements / traits.block_elements;
  if (elements % traits.block_elements == 0 && bytes == blocks * traits.block_bytes) return blocks;
  throw Error(ErrorCode::kInternal,
              fmt::format("{} elements of {} don't fill {} bytes", elements, traits.name, bytes));
}

void require_all(DType dtype, size_t encoded, size_t blocks) {
  if (encoded == blocks) return;
  const size_t first = encoded * traits_of(dtype).block_elements;
  throw Error(ErrorCode::kNonFinite,
              fmt::format("elements {} to {} can't be encoded as {}: one is not finite, or their "
                          "scale is beyond f16",
                          first, first + traits_of(dtype).block_elements - 1, name_of(dtype)));
}

/// Runs a kernel from values to as many others.
void in_blocks(DType dtype, size_t (*kernel)(const float*, float*, size_t), const char* what,
               std::span<const float> values, std::span<float> out) {
  const size_t blocks = values.size() / traits_of(dtype).block_elements;
  const size_t bytes = blocks * traits_of(dtype).block_bytes;
  if (kernel == nullptr || out.size() != values.size() ||
      block_count(dtype, bytes, values.size()) != blocks) {
    throw Error(ErrorCode::kInternal, fmt::format("{} values can't be {} {} values of {}",
                                                  values.size(), what, out.size(), name_of(dtype)));
  }
  require_all(dtype, kernel(values.data(), out.data(), blocks), blocks);
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
  require_all(dtype, codec.encode(values.data(), bytes.data(), blocks), blocks);
}

void round(DType dtype, std::span<const float> values, std::span<float> rounded) {
  in_blocks(dtype, codec_of(dtype).round, "rounded to", values, rounded);
}

bool clips(DType dtype) { return codec_of(dtype).clip != nullptr; }

void clip(DType dtype, std::span<const float> values, std::span<float> gradient) {
  in_blocks(dtype, codec_of(dtype).clip, "clipped with a gradient of", values, gradient);
}

}  // namespace wattle
