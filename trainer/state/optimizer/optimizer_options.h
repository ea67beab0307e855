#pragma once

#include <optional>
#include <vector>

#include "trainer/state/optimizer/schedule.h"

namespace wattle {

class Fields;

enum class OptimizerName { kAdamW, kAdam, kSgd };

/// `optimizer` of the YAML file.
struct OptimizerOptions {
  OptimizerName name = OptimizerName::kAdamW;
  double lr = 3e-4;
  std::vector<double> betas = {0.9, 0.95};  ///< of adam and adamw
  double eps = 1e-8;                        ///< of adam and adamw
  double momentum = 0.9;                    ///< of sgd
  bool nesterov = false;                    ///< of sgd
  std::optional<double> weight_decay;
  ScheduleOptions schedule;

  void describe(Fields& f);

  /// weight_decay, or its default: 0.01 for adamw, where it is decoupled, 0 otherwise.
  double resolved_weight_decay() const;
};

}  // namespace wattle
