#pragma once

namespace wattle {

/// Holds average power at a cap by pauses, where no device can be told a limit.
///
/// With p the power of work, f the floor that is drawn while pausing and c the cap, work of b
/// seconds is paid by a pause of b·(p - c)/(c - f); what the estimate of p missed stands as a debt
/// in joules and is paid by the pause after the next observation. The debt is what makes the
/// average exact: it is the metered energy minus c times the time.
///
/// The average over any 10 s is as even as the work between two pauses is small: a piece that draws
/// E joules more than the cap allows shows there as E / 10 s. Within 5 % of c asks for
/// (p - c)·b below about 0.4 s·c, hence for pauses within long steps.
///
/// A plain state machine without a clock. Where several ranks work together, all observe the
/// joules of all and thus pause alike.
class PowerPacer {
 public:
  /// Throws Error(kConfig) if the cap is not above the floor.
  PowerPacer(double cap_watts, double floor_watts);

  /// A new cap from now on; old debts are forgiven. Throws like the constructor.
  void set_cap(double cap_watts);
  double cap_watts() const { return cap_watts_; }
  /// What turned out to be drawn while pausing; it must be below the cap.
  void set_floor(double floor_watts) { floor_watts_ = floor_watts; }
  /// What work draws, until the first observation knows better.
  void expect_work(double watts);

  /// Books the meters' state: seconds of a monotonic clock, joules since any fixed moment, of all
  /// ranks. At the end of a step; within steps too where one rank sees all the joules.
  void observe(double seconds, double joules);

  /// How long to pause now: at most 2 s or 19 times the work since the last pause, so that work
  /// goes on whatever happens. Ask it between and within steps, then pause and tell.
  double pause_seconds(double now_seconds) const;
  void paused(double from_seconds, double to_seconds);

 private:
  double share_of_pause() const;

  double cap_watts_;
  double floor_watts_;
  bool has_observed_ = false;
  double observed_seconds_ = 0, observed_joules_ = 0;
  double work_watts_ = 0;                      // estimated; 0: not known yet
  double work_joules_ = 0, work_seconds_ = 0;  // of which it is the quotient
  bool is_work_expected_ = false;              // and not yet observed
  double debt_joules_ = 0;                     // metered beyond the cap; negative: credit
  double owed_seconds_ = 0;                    // pause that pays the debt
  double pause_since_ = 0;                     // paused since the last observation
  double work_began_seconds_ = 0;              // of work that no pause has paid yet
};

}  // namespace wattle
