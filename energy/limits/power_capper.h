#pragma once

#include <functional>
#include <memory>
#include <optional>

#include "energy/clock.h"
#include "energy/limits/gpu_power_limits.h"
#include "energy/limits/power_pacer.h"

namespace wattle {

/// Joules of the whole run so far, over all ranks.
struct RunJoules {
  double all = 0;
  double gpus = 0;  ///< of these, drawn by GPUs
};

/// Holds a run's average power at a cap: by the GPUs' own limits where there are any, and by pauses
/// for whatever they leave over. Without a cap it does nothing.
///
/// Every rank has one. All are fed the same RunJoules and the same caps, and thus act alike. Not
/// thread-safe.
class PowerCapper {
 public:
  /// `floor_watts`: what all hosts of the run draw without work (the sum of the ranks'
  /// EnergyMonitor::idle_watts()). `limits`: of this rank's GPUs, or none; `run_gpus`: of all
  /// ranks. `busy_watts`: what the hosts draw at full load, where that is known; else 0.
  PowerCapper(double floor_watts, Clock& clock, std::unique_ptr<GpuPowerLimits> limits = nullptr,
              size_t run_gpus = 0, double busy_watts = 0);

  /// A cap on the whole run's watts from now on; nothing lifts it. Throws Error(kConfig) if it
  /// can't be held because it is not above the floor: at the start that ends the program, later the
  /// caller reports it and the old cap stays.
  void set_cap(std::optional<double> watts);
  std::optional<double> cap_watts() const;

  /// Lowers the power by about a seventh of what is drawn now, for BudgetDecision::kThrottle.
  /// Returns the new cap in watts.
  double throttle();

  /// Takes note of what all hosts drew while they paused; the least of it, from the third time on,
  /// is a floor where none was known.
  void pause_seen(double watts);
  double floor_watts() const { return floor_watts_; }
  /// Whether what is drawn without work leaves room for the cap.
  bool can_hold() const { return !pacer_ || pacer_->cap_watts() > floor_watts_; }

  /// Books the joules of the run up to the end of a step.
  void step_done(const RunJoules& joules);

  /// Pauses as long as the cap demands; call it between and within steps (after each micro-batch).
  /// `is_stopping` is asked every tenth of a second and ends the pause. Returns seconds paused.
  double pace(const std::function<bool()>& is_stopping);

 private:
  void update_limits();

  double known_floor_watts_;
  double floor_watts_;  // known, or as seen in pauses if that is more
  Clock& clock_;
  std::unique_ptr<GpuPowerLimits> limits_;
  size_t run_gpus_;
  double busy_watts_;
  int pauses_seen_ = 0;
  double least_pause_watts_ = 0;
  std::optional<PowerPacer> pacer_;
  RunJoules seen_;
  double seen_seconds_ = 0;
  bool has_seen_ = false;
  double run_watts_ = 0, other_watts_ = 0;  // recent averages: of all, of all but GPUs
  double limits_set_seconds_ = 0;
};

}  // namespace wattle
