#pragma once

#include <string>
#include <vector>

#include "energy/accounting/energy_ledger.h"

namespace wattle {

/// The devices that one rank's monitor sees.
struct RankDevices {
  std::string host;
  std::vector<std::string> devices;
};

/// Gives every device to one rank, the lowest of its host that sees it, so that ranks which share a
/// GPU, a package or a host's idle power count it once. Returns, by rank, the devices that are that
/// rank's: what EnergyMonitor::keep_only takes. Pure: all ranks that know all lists agree.
std::vector<std::vector<std::string>> assign_devices(const std::vector<RankDevices>& ranks);

/// What one rank read, where devices were not assigned beforehand.
struct RankReading {
  int rank = 0;
  std::string host;
  std::vector<DeviceTotal> devices;
};

/// A run's devices over all ranks.
struct CombinedEnergy {
  std::vector<DeviceTotal> devices;  ///< each (host, device) once
  JoulesBySource joules;             ///< sources apart
  double gap_seconds = 0;            ///< summed over devices
};

/// Adds up the ranks' totals. Of a device that several ranks of a host read, the reading with the
/// shortest gaps counts, of equals that of the lowest rank.
CombinedEnergy combine(std::vector<RankReading> readings);

/// Lists, to and from text, for the exchange between ranks. Throws Error(kFormat) on other text.
std::string serialize(const RankDevices& devices);
RankDevices parse_rank_devices(const std::string& text);

}  // namespace wattle
