#pragma once

#include <optional>

#include "trainer/nn/scope.h"

namespace wattle {

/// Next-token prediction: logits = x W^T, W [vocab, width], and their mean cross-entropy over the
/// positions whose target is not -1. Products, softmax and gradients go by chunks of rows, so that
/// the logits never exist as a whole; when training, the gradients of W and x are computed in the
/// forward pass already, and backward only hands out that of x.
class TokenObjective : public Objective {
 public:
  /// With its own weight.
  TokenObjective(const Scope& scope, int64_t vocab, int64_t width, double deviation);
  /// With the token embedding's, which must outlive this.
  explicit TokenObjective(Parameter& tied) : weight_(&tied) {}

  /// activations [batch, seq, width], targets [batch, seq] int64.
  LossResult loss(const at::Tensor& activations, const at::Tensor& targets,
                  const ForwardContext& context) override;
  at::Tensor predict(const at::Tensor& activations) override;
  bool set_logit_loss(LogitLoss* loss) override;

 private:
  std::optional<Parameter> own_;
  Parameter* weight_;
  LogitLoss* logit_loss_ = nullptr;
};

}  // namespace wattle
