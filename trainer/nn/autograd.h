#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <vector>

namespace wattle {

/// From the gradient of an operation's output to those of its inputs, in their order. An undefined
/// tensor stands for an input that needs none.
using Backward = std::function<std::vector<at::Tensor>(const at::Tensor& grad)>;

/// Whether a forward pass that runs now is followed by a backward pass.
bool recording();

/// Makes `output`, computed outside the graph, the result of an operation on `inputs`. Backward
/// always runs `backward`, once, also when no input requires grad: gradients of parameters are
/// delivered there (Parameter::accumulate). What it captured is freed right after. It must not
/// capture the tensor that this returns; `output` itself may be captured.
at::Tensor record(const at::Tensor& output, std::vector<at::Tensor> inputs, Backward backward);

/// The same values, cut off from the graph before them.
at::Tensor values_of(const at::Tensor& tensor);

}  // namespace wattle
