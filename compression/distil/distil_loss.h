#pragma once

#include "trainer/nn/objectives/logit_loss.h"

namespace wattle {

/// Learning from a teacher's distribution (Hinton et al. 2015, arXiv:1503.02531): for a scored row
/// with student logits z, teacher logits t and temperature T
///
///   (1 - weight) * cross-entropy(z) + weight * T^2 * KL(softmax(t / T) || softmax(z / T)).
///
/// One logit a row stands for two classes: its distribution is (1 - sigmoid, sigmoid).
///
/// The teacher's last activations are computed once a batch; its logits exist for one piece of rows
/// at a time, as the student's do.
class DistilLoss : public LogitLoss {
 public:
  /// `teacher` must outlive this; it is evaluated, never trained.
  DistilLoss(Model& teacher, double temperature, double weight)
      : teacher_(teacher), temperature_(temperature), weight_(weight) {}

  void begin(const ForwardContext& context) override;
  /// Throws Error(kConfig) if the teacher has another number of classes.
  double loss_(at::Tensor& logits, const at::Tensor& targets, int64_t first_row,
               std::optional<double> gradient_scale) override;

 private:
  Model& teacher_;
  double temperature_;
  double weight_;
  at::Tensor activations_;  ///< the teacher's, [rows, ...]
};

}  // namespace wattle
