#pragma once

#include <cstddef>

namespace wattle {

/// ggml's TQ2_0: ternary numbers in blocks of 256, as quantize_row_tq2_0_ref and
/// dequantize_row_tq2_0 have them: d is the largest magnitude, the code of x is lroundf(x / d), the
/// value code * f16(d). For ggml_blocks.h, whose words on blocks without encoding count here too.
///
/// A block is 64 bytes of codes + 1 and the f16 d. Byte 32 h + m holds, from the lowest two bits
/// up, elements 128 h + m, + 32, + 64 and + 96.

/// Both return the index of the first block that has no encoding, or `blocks`. x and y of
/// round_tq2_0() may be the same.
size_t encode_tq2_0(const float* x, std::byte* bytes, size_t blocks);
size_t round_tq2_0(const float* x, float* y, size_t blocks);
void decode_tq2_0(const std::byte* bytes, float* y, size_t blocks);

}  // namespace wattle
