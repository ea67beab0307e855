#pragma once

#include <string>

namespace wattle {

/// "" or why a file of that kind can't hold weights of a format, by its name as
/// make_weight_format() reads it: known before anything is trained for it.
std::string gguf_refusal(const std::string& format);
std::string compressed_tensors_refusal(const std::string& format);
std::string onnx_refusal(const std::string& format);

}  // namespace wattle
