#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "common/error.h"
#include "energy/accounting/energy_monitor.h"
#include "energy/clock.h"
#include "energy/energy_options.h"
#include "energy/limits/budget_tracker.h"
#include "energy/limits/control_file.h"
#include "energy/limits/power_capper.h"
#include "energy/tuning/power_limit_tuner.h"
#include "trainer/loop/figures_exchange.h"
#include "trainer/loop/records/run_accounts.h"

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

  /// Before the first step: `run_joules` so far.
  void begin(double run_joules) { capper_.step_done({run_joules, 0}); }

  /// What this rank says in the next exchange.
  RankWord word();

  /// After each step, with the figures that all ranks share. Returns false when the run has to end
  /// here: so that its last checkpoint still fits into the budget, or because of failure().
  bool step_done(const SharedFigures& figures, double run_joules, int64_t steps_left);

  /// Between the batches of an evaluation, likewise: false if no further one fits.
  bool batch_done(const SharedFigures& figures, double run_joules);

  /// Whether there is a budget or a cap by now; the same on every rank.
  bool is_limited() const { return budget_ || capper_.cap_watts(); }

  /// Why no limit can be held any more: a meter died, or the pauses draw more than the cap. The run
  /// has to end with it, after its last checkpoint.
  const std::optional<Error>& failure() const { return failure_; }

  /// The dearest of the latest steps; 0 without a budget.
  double step_joules() const { return budget_ ? budget_->step_joules() : 0; }

  /// Whether something that takes about so many joules and then a checkpoint fit into the budget.
  bool allows(double run_joules, double joules) const;
  void expect_checkpoint(double joules);
  void checkpoint_done(double joules);

  /// Between micro-batches and steps: pauses as long as the cap demands.
  void pace();

  /// "budget 5000 J: 4873 J used"; "" without a budget.
  std::string budget_text(double run_joules) const;

 private:
  double order();
  void apply_order(double order);
  void observe(const SharedFigures& figures, double run_joules);
  void check_cap();
  void fail_for_dead_meter();  ///< collective
  void start_tuning(const EnergyOptions& options);
  void tune(const SharedFigures& figures);

  Parts parts_;
  std::optional<BudgetTracker> budget_;
  PowerCapper capper_;
  std::optional<ControlFile> control_;
  std::optional<double> configured_cap_watts_;
  std::optional<Error> failure_;
  double pause_seconds_ = 0, pause_joules_ = 0;  ///< of this rank, not yet shared
  std::unique_ptr<GpuPowerLimits> tuned_limits_;
  std::optional<PowerLimitTuner> tuner_;
  double gpu_joules_ = 0;
};

}  // namespace wattle
