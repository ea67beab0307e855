#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "energy/clock.h"
#include "energy/meters/meter.h"

namespace wattle {

/// What a host draws without work and with all its logical processors busy.
struct HostPower {
  double idle_watts = 0;
  double max_watts = 0;
  int logical_processors = 1;
  std::string origin;  ///< where the watts come from, for people
};

/// The watts of this host: from the arguments where they are given, else from a table of processor
/// families (watts per logical processor, Cloud Carbon Footprint, from SPECpower results), else
/// generic ones of the same source. `root` holds proc/cpuinfo, "/" but in tests.
/// Throws Error(kConfig) if the result has no room between idle and maximum.
HostPower host_power(std::optional<double> idle_watts, std::optional<double> max_watts,
                     const std::string& root = "/");

/// Power from load, for hosts without meters:
///
///   joules = idle_watts · wall seconds                                  device "cpu:idle"
///          + (max_watts - idle_watts) / logical processors · CPU seconds  device "cpu:process-PID"
///
/// Two devices, because the first is the host's and the second the process's: where ranks share a
/// host, "cpu:idle" counts once and every "cpu:process-PID" counts. The whole idle power is charged
/// to the run, as if it had the host to itself. `cpu_seconds` must be monotonic.
std::vector<std::unique_ptr<Meter>> model_meters(const HostPower& power, int pid,
                                                 std::function<double()> cpu_seconds, Clock& clock);

}  // namespace wattle
