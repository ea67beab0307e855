#pragma once

#include <cstddef>

namespace wattle {

/// ggml's Q4_0, Q4_1 and Q8_0: 32 values in 18, 20 and 34 bytes, with a scale in f16, and Q4_1's
/// minimum. Bit for bit quantize_row_*_ref() and dequantize_row_*() of ggml-quants.c.
///
/// encode and round give the index of the first block that has no encoding (a value is not finite,
/// or a scale is beyond f16), or `blocks`. round: what decode gives of encode's bytes, in one pass;
/// x and y may be the same.
size_t encode_q4_0(const float* x, std::byte* bytes, size_t blocks);
size_t encode_q4_1(const float* x, std::byte* bytes, size_t blocks);
size_t encode_q8_0(const float* x, std::byte* bytes, size_t blocks);
void decode_q4_0(const std::byte* bytes, float* y, size_t blocks);
void decode_q4_1(const std::byte* bytes, float* y, size_t blocks);
void decode_q8_0(const std::byte* bytes, float* y, size_t blocks);
size_t round_q4_0(const float* x, float* y, size_t blocks);
size_t round_q4_1(const float* x, float* y, size_t blocks);
size_t round_q8_0(const float* x, float* y, size_t blocks);

/// gradient = 0 where x lies more than half a step beyond the last code, 7: the largest magnitude
/// of a block has code -8. Gives `blocks`; blocks that have no encoding get any gradient.
size_t clip_q4_0(const float* x, float* gradient, size_t blocks);

}  // namespace wattle
