#pragma once

#include <cstddef>

namespace wattle {

/// ggml's Q6_K without an importance matrix: 256 values in 210 bytes, 16 groups of 16 values. A
/// value is (d * scale) * code, with d in f16, a group's scale from -128 to 127 and codes from -32
/// to 31.
///
/// The scales are searched: a group tries 19 inverse scales, -(32 + k / 10) / m for k = -9..9 and m
/// its first value of the largest magnitude, and takes the scale that explains the most of its
/// values in the sense of least squares weighted by x^2; then the block's 16 scales are rounded to
/// multiples of d = (the largest of them) / -128, and each value to the nearest code of its group.
/// Bit for bit quantize_row_q6_K_ref() and dequantize_row_q6_K() of ggml-quants.c. Unlike the
/// closed-form types, what was decoded may be encoded to other bits.
///
/// Index of the first block that has no encoding (a value is not finite, or a scale is beyond
/// f16), or `blocks`.
size_t encode_q6_k(const float* x, std::byte* bytes, size_t blocks);
/// What decode_q6_k() gives of those bytes; x and y may be the same.
size_t round_q6_k(const float* x, float* y, size_t blocks);
/// gradient = 0 where x lies more than half a step beyond the codes of its group.
size_t clip_q6_k(const float* x, float* gradient, size_t blocks);
void decode_q6_k(const std::byte* bytes, float* y, size_t blocks);

}  // namespace wattle
