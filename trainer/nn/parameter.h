#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <string>

namespace wattle {

/// What a layer is, for energy by layer kind, for pruning targets and for a tensor layout's rules.
enum class LayerKind { kEmbedding, kNorm, kAttention, kFeedForward, kConvolution, kDense, kHead };

/// The name of a kind in reports: "embedding", "norm", "attention", "feed_forward", ...
const char* name_of(LayerKind kind);

/// One trainable tensor of a model.
///
/// Two values exist of it. The *master* is what the optimizer updates; it lives in a flat buffer
/// that the trainer owns. The *working* value, `value`, is what the forward pass reads: the same
/// storage in plain float32, a rounded copy under bf16, a fake-quantised or masked copy under
/// compression. Gradients are taken at the working value and applied to the master.
///
/// Threading: none; a parameter belongs to the thread that runs forward and backward.
class Parameter {
 public:
  Parameter(std::string name, at::Tensor initial, LayerKind kind, bool decays);
  Parameter(const Parameter&) = delete;
  Parameter& operator=(const Parameter&) = delete;

  const std::string& name() const { return name_; }
  LayerKind kind() const { return kind_; }
  /// Whether AdamW's weight decay applies: not to norms, biases and embeddings.
  bool decays() const { return decays_; }

  /// The working value, a leaf that requires grad.
  const at::Tensor& value() const { return value_; }

  /// Whether the working value has the batch norm around it folded in, with its running statistics:
  /// a product's weight is multiplied by the norm's factor, a norm's bias is less the mean times
  /// that. The norm then does only what is left to do. Said by who makes the working value.
  bool is_folded() const { return folded_; }
  void set_folded(bool folded) { folded_ = folded; }

  /// Moves the parameter into flat storage: `value` and `grad` are views of its shape. The current
  /// content is not copied.
  void bind(at::Tensor value, at::Tensor grad);

  /// The gradient view, of the shape of `value`. Valid after bind().
  const at::Tensor& grad() const { return grad_; }

  /// A layer whose backward writes this gradient by itself announces each use of the parameter in
  /// the forward pass with `expect_gradient()`, and for each delivers once with `accumulate`.
  /// `write(grad, beta)` must set grad = beta * grad + new; beta is 0 for the first delivery of a
  /// step, so that nothing needs to be zeroed, and 1 afterwards.
  void expect_gradient() { ++expected_; }
  void accumulate(const std::function<void(at::Tensor& grad, double beta)>& write);

  /// Starts a step: the next delivery overwrites.
  void begin_step() { fresh_ = true; }
  /// Ends a step: a gradient that nobody delivered is zero.
  void end_step();

  /// From now on `watcher` sees the rows that this weight's rows are multiplied by, [..., in],
  /// before each product; of a convolution the patches of the image, [batch, places, in], with
  /// in = inputs * kernel * kernel in the order of a filter's values. nullptr ends it.
  void watch_inputs(std::function<void(const at::Tensor& x)> watcher) {
    watcher_ = std::move(watcher);
  }
  bool is_watched() const { return static_cast<bool>(watcher_); }
  /// A layer announces a product with the rows x.
  void multiplies(const at::Tensor& x) const {
    if (watcher_) watcher_(x);
  }

  /// Called when the last expected delivery of a backward pass has been made.
  void on_ready(std::function<void()> ready) { ready_ = std::move(ready); }

 private:
  std::string name_;
  at::Tensor value_;
  at::Tensor grad_;
  LayerKind kind_;
  bool decays_;
  bool fresh_ = true;
  bool folded_ = false;
  int expected_ = 0;
  std::function<void()> ready_;
  std::function<void(const at::Tensor&)> watcher_;
};

}  // namespace wattle
