#pragma once

#include <functional>
#include <optional>
#include <span>
#include <vector>

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
  /// `before_batch`, which may be empty, is called by all ranks, equally often, in evaluations that
  /// are not asked whether they go on.
  Evaluator(Model& model, const Dataset& dataset, const EvaluationPlan& plan,
            FiguresExchange& exchange, EnergyMonitor& energy,
            std::function<void()> before_batch = nullptr);

  /// Collective. The sums are taken in the order of the batches, whatever the number of ranks.
  /// `goes_on` is asked by all ranks between batches, equally often; where it says false (to all),
  /// the evaluation is broken off and there is none.
  std::optional<Evaluation> run(const std::function<bool()>& goes_on = nullptr);

  int64_t samples() const { return plan_.samples; }
  /// Tokens of a sample; 1 where samples are no sequences.
  int64_t units_a_sample() const;
  /// How many batches the busiest rank has.
  int64_t rounds() const { return (plan_.batches() + plan_.ranks - 1) / plan_.ranks; }
  /// How many samples lie in the first `rounds` batches of every rank.
  int64_t samples_in(int64_t rounds) const;

 private:
  /// Loss sum, positions and right ones of this rank's i-th batch.
  void score(int64_t i, std::span<double> figures);
  /// The sum over the ranks' figures.
  Evaluation sum(const std::vector<double>& figures);

  Model& model_;
  const Dataset& dataset_;
  EvaluationPlan plan_;
  FiguresExchange& exchange_;
  EnergyMonitor& energy_;
  std::function<void()> before_batch_;
};

}  // namespace wattle
