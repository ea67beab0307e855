#pragma once

#include "trainer/nn/scope.h"

namespace wattle {

struct ConvolutionOptions {
  int64_t inputs = 0;   ///< channels
  int64_t outputs = 0;  ///< filters
  int64_t kernel = 3;   ///< odd; the image is padded so that stride 1 keeps its size
  int64_t stride = 1;
};

/// 2-D convolution without bias, [batch, inputs, height, width] to [batch, outputs, ceil(height /
/// stride), ceil(width / stride)]. Weight [outputs, inputs, kernel, kernel].
class Convolution {
 public:
  Convolution(const Scope& scope, const ConvolutionOptions& options);

  at::Tensor operator()(const at::Tensor& x, const ForwardContext& context);

  Parameter& weight() { return weight_; }

 private:
  at::Tensor product(const at::Tensor& x);
  /// [batch, places, inputs * kernel * kernel]: what a filter multiplies at each place.
  at::Tensor patches(const at::Tensor& x) const;

  Parameter weight_;
  std::vector<int64_t> stride_;
  std::vector<int64_t> padding_;
};

/// Batch norm (Ioffe and Szegedy 2015) over the channels of a convolution's output, [batch,
/// channels, height, width]. When training it normalises with the micro-batch's own statistics and
/// appends them to the context's, unless they are frozen; otherwise with the running ones.
///
/// Where it is folded into the convolution's weight (Parameter::is_folded()), running statistics
/// leave only the folded bias to add, and a batch's own are taken of the product divided by the
/// factor (Krishnamoorthi 2018, arXiv:1806.08342, section 3.2.2).
class BatchNorm {
 public:
  /// Enters itself into the registry as what follows the convolution's weight.
  BatchNorm(const Scope& scope, Convolution& convolution, double eps);

  at::Tensor operator()(const at::Tensor& x, const ForwardContext& context);

  Parameter& weight() { return weight_; }
  Parameter& bias() { return bias_; }
  /// The names of its running mean and variance among the model's buffers.
  const std::vector<std::string>& buffers() const { return buffers_; }

 private:
  at::Tensor normalised_by_batch(const at::Tensor& x, const ForwardContext& context);
  at::Tensor normalised_by_running(const at::Tensor& x);
  at::Tensor with_folded_bias(const at::Tensor& product);
  FollowingNorm as_following();

  Parameter& product_;

  Parameter weight_;
  Parameter bias_;
  at::Tensor running_mean_;  ///< the model's buffers share these
  at::Tensor running_variance_;
  std::vector<std::string> buffers_;
  double eps_;
};

}  // namespace wattle
