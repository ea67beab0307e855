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

/// Lists, to and from text, for the exchange between ranks. Throws Error(kFormat) on other text.
std::string serialize(const RankDevices& devices);
RankDevices parse_rank_devices(const std::string& text);

}  // namespace wattle
