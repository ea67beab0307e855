#pragma once

#include <limits>
#include <optional>
#include <string>

#include "energy/source.h"

namespace wattle {

/// What a meter's readings are.
enum class Reading {
  kJoules,  ///< a cumulative counter: the difference of two readings is the energy between them
  kWatts,   ///< instantaneous power: energy is the area below
};

struct MeterInfo {
  /// Unique on the host and the same in every process of it: "gpu:GPU-6f2a…", "rapl:0/package-0",
  /// "cpu:idle". What belongs to one process alone carries its id: "cpu:process-4711".
  std::string device;
  Source source = Source::kUnavailable;
  Reading reading = Reading::kJoules;
  /// A read takes about a microsecond, so that it may happen at the edge of every window.
  bool is_cheap = false;
  /// A counter starts again at 0 when it reaches this; 0: it never wraps.
  double wraps_at_joules = 0;
  /// More power than this between two readings is no energy but a counter that was reset.
  double plausible_watts = std::numeric_limits<double>::infinity();
  /// A counter that stands still for longer is broken, not idle.
  double stuck_after_seconds = std::numeric_limits<double>::infinity();
  /// What the device draws without work, where that is known.
  std::optional<double> idle_watts;
  /// What the device, and all that work on it, draw at full load, where that is known.
  std::optional<double> busy_watts;
};

/// One device that can say how much energy it uses. Not thread-safe: one caller at a time.
class Meter {
 public:
  virtual ~Meter() = default;
  virtual const MeterInfo& info() const = 0;

  /// Joules or watts now, as info().reading says. Not checked for sense: the integrator does that.
  /// Throws Error(kIo) if the device does not answer.
  virtual double read() = 0;
};

}  // namespace wattle
