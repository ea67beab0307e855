#pragma once

#include <string>
#include <vector>

#include "energy/accounting/energy_ledger.h"
#include "energy/energy_options.h"

namespace wattle {

/// What a command used, from its start to its end.
struct MeasuredCommand {
  int exit_code = 0;
  double seconds = 0;
  JoulesBySource joules;
  std::vector<DeviceTotal> devices;
  std::vector<std::string> notes;  ///< which meters, and why others are absent
};

/// Runs a command and meters it. SIGTERM, SIGHUP and SIGINT that are sent to this process go on to
/// the command; those of the terminal reach it anyway. Call it before other threads exist.
/// Throws Error(kConfig) if a meter that is asked for is not there.
MeasuredCommand run_measured(const std::vector<std::string>& command, const EnergyOptions& options);

}  // namespace wattle
