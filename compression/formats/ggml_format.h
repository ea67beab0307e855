#pragma once

#include "compression/formats/weight_format.h"

namespace wattle {

/// The blocks of a ggml type with the codec of formats/ggml_blocks.h: Q4_0, Q4_1, Q8_0, Q6_K.
/// Each block's scales follow from its values. Throws Error(kUnsupported) for another type.
std::shared_ptr<const WeightFormat> make_ggml_format(DType type);

}  // namespace wattle
