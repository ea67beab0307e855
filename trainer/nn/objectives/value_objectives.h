#pragma once

#include "trainer/nn/model.h"

namespace wattle {

/// One logit a sample, [batch, 1], and targets 0 or 1, [batch], or anything between; mean binary
/// cross-entropy. Predicts the probability of 1. Classifies where every target is 0 or 1.
class BinaryObjective : public Objective {
 public:
  LossResult loss(const at::Tensor& activations, const at::Tensor& targets,
                  const ForwardContext& context) override;
  at::Tensor predict(const at::Tensor& activations) override;
  bool set_logit_loss(LogitLoss* loss) override;

 private:
  LogitLoss* logit_loss_ = nullptr;
};

/// Values [batch, outputs] and targets [batch] or [batch, outputs]; mean squared error.
class SquaredObjective : public Objective {
 public:
  LossResult loss(const at::Tensor& activations, const at::Tensor& targets,
                  const ForwardContext& context) override;
  at::Tensor predict(const at::Tensor& activations) override;
};

/// Logits [batch, classes] and targets [batch] int64, -1 where not scored; mean cross-entropy.
class ClassObjective : public Objective {
 public:
  LossResult loss(const at::Tensor& activations, const at::Tensor& targets,
                  const ForwardContext& context) override;
  at::Tensor predict(const at::Tensor& activations) override;
  bool set_logit_loss(LogitLoss* loss) override;

 private:
  LogitLoss* logit_loss_ = nullptr;
};

}  // namespace wattle
