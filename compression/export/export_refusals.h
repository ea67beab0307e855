#pragma once

#include <string>

#include "compression/formats/weight_format.h"

namespace wattle {

/// "" or why a file of that kind can't hold weights of a format: known before anything is trained
/// for it.
std::string gguf_refusal(const WeightFormat& format);
std::string compressed_tensors_refusal(const WeightFormat& format);
std::string onnx_refusal(const WeightFormat& format);

}  // namespace wattle
