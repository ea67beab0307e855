#pragma once

#include <cstddef>
#include <span>

#include "formats/tensor_info.h"

namespace wattle {

/// The codecs of F32, F16, BF16, Q4_0, Q4_1, Q8_0, Q6_K and TQ2_0 (blocks_of_32.h, q6_k.h,
/// tq2_0.h), bit for bit those of ggml's reference (quantize_row_*_ref and dequantize_row_* in
/// ggml-quants.c, float32 arithmetic, no contraction).
///
/// Encoding what was decoded from an encoded block gives the same bits again, unless the block's
/// scale has vanished in f16 or, for Q4_1, its minimum is thousands of times its scale. Q6_K's
/// scales are searched: encoding again may find others.
///
/// Two points that the reference leaves open are fixed here. A block whose scale's reciprocal
/// overflows (all magnitudes below 3e-38) encodes zeros. A block that holds a NaN or an infinity,
/// or whose scale is beyond f16, has no encoding: Error(kNonFinite) names its first element.
///
/// Threading: pure functions; split a tensor at whole blocks to run several at once. Alignment of
/// the bytes: any.

/// Whether decode() and encode() take it.
bool has_codec(DType dtype);

/// `bytes` holds values.size() elements of `dtype`: both a whole number of blocks that agree, else
/// Error(kInternal). Error(kUnsupported) if there is no codec.
void decode(DType dtype, std::span<const std::byte> bytes, std::span<float> values);
void encode(DType dtype, std::span<const float> values, std::span<std::byte> bytes);
/// What decode() gives of what encode() makes, in one pass, of the types that round to blocks;
/// `rounded` has the size of `values` and may be the same. Error(kInternal) for the others.
void round(DType dtype, std::span<const float> values, std::span<float> rounded);

/// Whether values may lie beyond the codes that encode() gives them: Q4_0's largest magnitude of a
/// block has code -8, so that values beyond 7.5 steps on the other side are clipped; Q6_K's groups
/// clip where their search found that to be better; the other types clip nothing.
bool clips(DType dtype);
/// gradient = 0 where a value lies more than half a step beyond them, of types that clip;
/// `gradient` has the size of `values`. Error(kInternal) for the others.
void clip(DType dtype, std::span<const float> values, std::span<float> gradient);

}  // namespace wattle
