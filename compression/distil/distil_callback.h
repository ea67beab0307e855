#pragma once

#include <memory>
#include <string>

#include "compression/distil/distil_loss.h"
#include "compression/distil/distil_options.h"
#include "trainer/callback.h"

namespace wattle {

/// Distillation as a callback: between begin_step and end_step the model's loss is DistilLoss's.
/// The loss of those steps in the metrics is that one; evaluation keeps cross-entropy.
///
/// Acts alike on all ranks, each of which has the teacher.
class DistilCallback : public Callback {
 public:
  /// `name`: "compression.0.distil". `model` must outlive this, and not be trained once this is
  /// gone. Throws Error(kConfig) if the model or the teacher classifies nothing.
  DistilCallback(std::string name, const DistilOptions& options, Model teacher, Model& model);
  ~DistilCallback() override;

  void train_begins(const TrainingView& view) override { follow_schedule(view.step); }
  void step_begins(const TrainingView& view) override { follow_schedule(view.step); }

  std::string name() const override { return name_; }
  /// What the ledger says: the settings and the hash of the teacher's weights.
  std::string save_state() const override;
  /// Throws Error(kConfig) if the run began with another teacher.
  void load_state(const std::string& state) override;

  Model& teacher() { return teacher_; }

 private:
  void follow_schedule(int64_t step);

  std::string name_;
  DistilOptions options_;
  Model teacher_;
  std::string teacher_hash_;
  Model& model_;
  DistilLoss loss_;
  bool active_ = false;
};

}  // namespace wattle
