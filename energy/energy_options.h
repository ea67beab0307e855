#pragma once

#include <optional>
#include <string>

#include "common/config/schema.h"

namespace wattle {

enum class MeterKind { kAuto, kNvml, kRapl, kModel, kTrace };
enum class OnExceeded { kStop, kThrottle };
enum class TuneObjective { kOff, kCost, kEnergy };

/// The section `energy:` of a run's YAML file, also what `wattle energy` and the node agent meter
/// with.
struct EnergyOptions {
  MeterKind meter = MeterKind::kAuto;
  std::string trace_path;
  std::string host;  ///< "" = as the system names it
  std::optional<double> idle_watts, max_watts;
  double sample_interval_seconds = 0.02;

  std::optional<double> budget_joules;
  std::optional<double> power_cap_watts;
  OnExceeded on_exceeded = OnExceeded::kStop;

  TuneObjective tune_power_limit = TuneObjective::kOff;
  double eta = 0.5;
  double max_slowdown = 1.05;
  double tune_seconds_per_limit = 3;
  double tune_stride_watts = 25;

  void describe(Fields& f);
};

}  // namespace wattle
