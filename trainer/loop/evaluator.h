#pragma once

#include <optional>

#include "energy/accounting/energy_monitor.h"
#include "trainer/data/loader.h"
#include "trainer/loop/figures_exchange.h"
#include "trainer/nn/model.h"

namespace wattle {

/// What an evaluation found, over all ranks.
struct Evaluation {
  double loss = 0;                 ///< mean over the scored positions, in nats
  int64_t scored = 0;              ///< tokens, or samples
  std::optional<double> accuracy;  ///< share of right classes, where there are classes
  double perplexity() const;
};

/// Walks the whole validation set once. Everything it is made of must outlive it.
class Evaluator {
 public:
  Evaluator(Model& model, const Dataset& dataset, const EvaluationPlan& plan,
            FiguresExchange& exchange, EnergyMonitor& energy);

  /// Collective. The sums are taken in the order of the batches, whatever the number of ranks.
  Evaluation run();

 private:
  Model& model_;
  const Dataset& dataset_;
  EvaluationPlan plan_;
  FiguresExchange& exchange_;
  EnergyMonitor& energy_;
};

}  // namespace wattle
