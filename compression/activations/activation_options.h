#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "common/config/schema.h"
#include "compression/calibration/range_observer.h"

namespace wattle {

/// Whether the ends of an activation's range are learned by gradient.
enum class RangeLearning {
  kNone,
  kClipping,  ///< PACT (Choi et al. 2018, arXiv:1805.06085), on both sides of asymmetric grids
};

/// `activations:` of a quantize entry: what flows between layers is rounded too, each tensor to one
/// grid of integers (Jacob et al. 2018, arXiv:1712.05877).
struct ActivationOptions {
  std::vector<std::string> targets;
  int64_t bits = 8;
  bool symmetric = false;
  std::optional<int64_t> begin_step;
  bool clip_gradients = true;
  RangeLearning learn = RangeLearning::kNone;
  double range_lr = 1e-3;

  void describe(Fields& f);

  AffineGrid grid() const { return {static_cast<int>(bits), symmetric}; }
};

/// `observer:` and what belongs to it.
void describe_observer(Fields& f, ObserverOptions& observer);

/// What a run's steps are for activations, and what can be wrong with them.
struct ActivationPhase {
  int64_t begin_step = 0;     ///< observed from here on
  int64_t quantise_step = 0;  ///< rounded from here on
  std::optional<int64_t> end_step;
  std::optional<int64_t> freeze_step;
};
void check_activations(const ActivationOptions& options, const ActivationPhase& phase, Checker& c);

}  // namespace wattle
