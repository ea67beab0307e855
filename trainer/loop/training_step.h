#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <vector>

#include "energy/accounting/energy_monitor.h"
#include "parallel/reducers/gradient_reducer.h"
#include "trainer/loop/energy/layer_timer.h"
#include "trainer/loop/figures_exchange.h"
#include "trainer/nn/model.h"
#include "trainer/state/flat_parameters.h"
#include "trainer/state/gradient_norm.h"
#include "trainer/state/optimizer/optimizer.h"

namespace wattle {

/// Where a step stands and which of its micro-batches are this rank's.
struct StepView {
  int64_t step = 0;   ///< counts from 0
  int64_t first = 0;  ///< this rank's micro-batches are [first, first + count) of total
  int64_t count = 0;
  int64_t total = 0;
  LayerTimer* timer = nullptr;  ///< on the steps that are followed through the kinds of layers
};

/// What a step came to, alike on every rank.
struct StepOutcome {
  double loss = 0;          ///< mean over the global batch
  double grad_norm = 0;     ///< of the global gradient, before clipping
  bool finite = true;       ///< false: the parameters were left as they were
  bool stop_asked = false;  ///< on any rank
};

/// One optimizer step over the global batch: forward and backward of this rank's micro-batches,
/// reduction, the finite check, clipping, the update.
///
/// What it is made of must outlive it; it takes over the parameters' on_ready. Not thread-safe.
class TrainingStep {
 public:
  struct Parts {
    Model& model;
    FlatParameters& parameters;
    GradientReducer& reducer;
    Optimizer& optimizer;
    FiguresExchange& exchange;
    EnergyMonitor& energy;
    std::function<void()> pace;  ///< called after each micro-batch
  };
  struct Settings {
    uint64_t seed = 0;
    bool deterministic = false;
    std::optional<double> grad_clip;
  };

  TrainingStep(Parts parts, const Settings& settings);

  /// Collective. `fetch(i)` gives the i-th of this rank's micro-batches. `stop_asked` is this
  /// rank's, and comes back as any rank's.
  StepOutcome run(const StepView& view, const std::function<Batch(int64_t)>& fetch,
                  double learning_rate, bool stop_asked);

 private:
  void accumulate(const StepView& view, const std::function<Batch(int64_t)>& fetch);
  void forward_backward(const Batch& batch, const StepView& view);

  Parts parts_;
  Settings settings_;
  GradientMeter meter_;
  bool is_last_micro_batch_ = false;
  std::vector<double> losses_;                            ///< of this rank's micro-batches
  std::vector<std::vector<BatchStatistics>> statistics_;  ///< of this rank's micro-batches
};

}  // namespace wattle
