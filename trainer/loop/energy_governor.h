#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "energy/accounting/energy_monitor.h"
#include "energy/clock.h"
#include "energy/energy_options.h"
#include "energy/limits/budget_tracker.h"
#include "energy/limits/control_file.h"
#include "energy/limits/power_capper.h"
#include "energy/tuning/power_limit_tuner.h"
#include "trainer/loop/figures_exchange.h"
#include "trainer/loop/run_accounts.h"

namespace wattle {

/// Keeps a run to its limits of energy: the budget of joules, the cap on watts, which control.json
/// may move while it trains, and the tuning of the GPUs' power limit.
///
/// Every rank has one and feeds it the same figures, so that all act alike. Rank 0 alone reads
/// control.json and passes what it asks for through SharedFigures::order.
class EnergyGovernor {
 public:
  struct Parts {
    FiguresExchange& exchange;
    EnergyMonitor& energy;
    Clock& clock;
    std::function<bool()> stop_requested;
    std::function<void(const std::string&)> say;  ///< rank 0's words to people
    /// Restores GPU power limits after a crash, see GpuPowerLimits; empty: none.
    std::vector<std::string> guardian = {};
  };

  /// Collective. Throws Error(kConfig) for what can't be enforced here: a cap that is not above the
  /// idle power, a budget or a cap without any meter or model, tuning without GPU power limits.
  EnergyGovernor(const EnergyOptions& options, const std::string& output_dir, Parts parts);

  /// What rank 0 asks all ranks for in the next exchange.
  double order();

  /// After each step, with the figures that all ranks share. Returns false when the run has to end
  /// here, so that its last checkpoint still fits into the budget.
  bool step_done(const SharedFigures& figures, double run_joules, int64_t steps_left);

  /// Whether something that takes about so many joules and then a checkpoint fit into the budget.
  bool allows(double run_joules, double joules) const;
  void expect_checkpoint(double joules);
  void checkpoint_done(double joules);

  /// Between micro-batches and steps: pauses as long as the cap demands.
  void pace();

  /// "budget 5000 J: 4873 J used"; "" without a budget.
  std::string budget_text(double run_joules) const;

 private:
  void apply_order(double order);
  void start_tuning(const EnergyOptions& options);
  void tune(const SharedFigures& figures);

  Parts parts_;
  std::optional<BudgetTracker> budget_;
  PowerCapper capper_;
  std::optional<ControlFile> control_;
  std::unique_ptr<GpuPowerLimits> tuned_limits_;
  std::optional<PowerLimitTuner> tuner_;
  double gpu_joules_ = 0;
};

}  // namespace wattle
