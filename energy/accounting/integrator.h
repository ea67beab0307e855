#pragma once

#include <optional>
#include <string>

#include "energy/meters/meter.h"

namespace wattle {

/// What one device used, as far as it is known.
struct DeviceTotal {
  std::string host;
  std::string device;
  Source source = Source::kUnavailable;
  double joules = 0;
  double seconds = 0;      ///< from the first reading to the last
  double gap_seconds = 0;  ///< of these, without trustworthy readings
  int gaps = 0;
  std::string last_gap;  ///< why

  /// `source`, or kUnavailable while not one joule is known.
  Source known_source() const { return joules > 0 ? source : Source::kUnavailable; }
};

/// E = ∫ P dt of one device from its readings: differences of a counter, the trapezoid under power.
///
/// What can't be trusted opens a gap and adds no joules: readings that are NaN or negative, a meter
/// that fails, a counter that falls without a wrap that explains it, rises faster than the device
/// could draw or stands still, a clock that steps back, and power samples too far apart. A counter
/// that goes on after failed readings still adds what it counted meanwhile.
class Integrator {
 public:
  /// `longest_interval_seconds`: power samples farther apart leave a gap.
  Integrator(const MeterInfo& info, double longest_interval_seconds);

  /// Books a reading; returns the joules since the one before (0 in a gap).
  double add(double seconds, double reading);

  /// Books that there was no reading.
  void fail(double seconds, const std::string& why);

  const DeviceTotal& total() const { return total_; }

  /// How long the device has given no trustworthy reading up to the latest one; 0: it does.
  double open_gap_seconds() const;

  /// The joules expected at `seconds`: the total, carried on at the latest power.
  double joules_at(double seconds) const;

 private:
  struct Sample {
    double seconds = 0;
    double reading = 0;
  };
  bool advance(double seconds);
  std::optional<double> counted(double delta, double interval) const;
  double add_counter(const Sample& now, bool after_gap);
  double add_power(const Sample& now, bool after_gap);
  void mark_gap(const std::string& why, double gap_seconds);
  void watch_for_standstill(const Sample& now, double delta);

  MeterInfo info_;
  double longest_interval_seconds_;
  DeviceTotal total_;
  std::optional<double> at_;    // the latest time that was booked, with a reading or without
  std::optional<Sample> last_;  // the latest reading
  bool is_open_ = false;        // there was no reading since
  double opened_at_ = 0;        // when that began
  double latest_watts_ = 0;
  double moved_at_ = 0;  // when the counter last changed
};

}  // namespace wattle
