#pragma once

#include <memory>
#include <string>
#include <vector>

#include "energy/clock.h"
#include "energy/meters/meter.h"

namespace wattle {

/// A recorded power curve of one device.
struct PowerTrace {
  struct Point {
    double seconds = 0;
    double watts = 0;
    double joules = 0;     ///< area below the curve up to here, holes left out
    bool is_hole = false;  ///< nothing is known between the point before and the one after
  };
  std::string device;
  std::vector<Point> points;  ///< at least two, seconds never fall
};

/// Reads `seconds,watts[,device]` rows (a header line, blank lines and # comments are allowed).
/// Power runs straight between two rows; an empty or `nan` watts cell is a hole: nothing is known
/// until the next row of that device. Two rows at one time are a step.
/// Throws Error(kIo) if the file can't be read, Error(kFormat) with file:line on negative or
/// unreadable numbers, time that falls, a device with fewer than two rows.
std::vector<PowerTrace> read_power_traces(const std::string& path);

/// Replays a trace from the moment of construction as an exact counter of joules. `read` throws
/// Error(kIo) inside a hole and past the end: what is not in the trace is not made up.
class TraceMeter final : public Meter {
 public:
  TraceMeter(PowerTrace trace, Clock& clock);
  const MeterInfo& info() const override { return info_; }
  double read() override;

 private:
  PowerTrace trace_;
  Clock& clock_;
  double start_seconds_;
  MeterInfo info_;
};

}  // namespace wattle
