#include "formats/gguf/tq2_0.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>

#include "common/clones.h"
#include "formats/half.h"

namespace wattle {
namespace {

constexpr size_t kBlock = 256;
constexpr size_t kBlockBytes = 66;
constexpr size_t kCodeBytes = 64;

/// What a block becomes.
struct Rounded {
  int8_t codes[kBlock];  ///< -1, 0, 1
  uint16_t scale;
};

size_t byte_of(size_t element) { return element / 128 * 32 + element % 32; }
size_t shift_of(size_t element) { return element % 128 / 32 * 2; }

/// False if the block has no encoding.
inline __attribute__((always_inline)) bool round_block(const float* x, Rounded& block) {
  float scale = 0;
  bool finite = true;
  for (size_t j = 0; j < kBlock; ++j) {
    const float magnitude = std::fabs(x[j]);
    finite &= magnitude <= std::numeric_limits<float>::max();  // false for NaN too
    scale = std::max(scale, magnitude);
  }
  float inverse = scale != 0.0f ? 1.0f / scale : 0.0f;
  if (!finite || std::isinf(inverse)) inverse = 0;
  for (size_t j = 0; j < kBlock; ++j) {
    const float scaled = x[j] * inverse;  // of -1 to 1, but for its own rounding
    // lroundf: halves away from zero.
    block.codes[j] = static_cast<int8_t>((scaled >= 0.5f ? 1 : 0) - (scaled <= -0.5f ? 1 : 0));
  }
  block.scale = f16_from_float(scale);
  return finite && (block.scale & 0x7c00u) != 0x7c00u;
}

}  // namespace

WATTLE_CLONES size_t encode_tq2_0(const float* x, std::byte* bytes, size_t blocks) {
  for (size_t i = 0; i < blocks; ++i) {
    Rounded block;
    if (!round_block(x + i * kBlock, block)) return i;
    uint8_t codes[kCodeBytes] = {};
    for (size_t j = 0; j < kBlock; ++j) {
      codes[byte_of(j)] |= static_cast<uint8_t>((block.codes[j] + 1) << shift_of(j));
    }
    std::memcpy(bytes + i * kBlockBytes, codes, kCodeBytes);
    std::memcpy(bytes + i * kBlockBytes + kCodeBytes, &block.scale, sizeof(block.scale));
  }
  return blocks;
}

WATTLE_CLONES size_t round_tq2_0(const float* x, float* y, size_t blocks) {
  for (size_t i = 0; i < blocks; ++i) {
    Rounded block;
    if (!round_block(x + i * kBlock, block)) return i;
    const float scale = float_from_f16(block.scale);
    for (size_t j = 0; j < kBlock; ++j) {
      y[i * kBlock + j] = static_cast<float>(block.codes[j]) * scale;
    }
  }
  return blocks;
}

void decode_tq2_0(const std::byte* bytes, float* y, size_t blocks) {
  for (size_t i = 0; i < blocks; ++i) {
    const std::byte* block = bytes + i * kBlockBytes;
    uint16_t half = 0;
    std::memcpy(&half, block + kCodeBytes, sizeof(half));
    const float scale = float_from_f16(half);
    for (size_t j = 0; j < kBlock; ++j) {
      const int code = std::to_integer<int>(block[byte_of(j)] >> shift_of(j)) & 3;
      y[i * kBlock + j] = static_cast<float>(code - 1) * scale;
    }
  }
}

}  // namespace wattle
