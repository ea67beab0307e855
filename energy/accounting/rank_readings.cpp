#include "energy/accounting/rank_readings.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <tuple>

#include "common/error.h"

namespace wattle {

std::vector<std::vector<std::string>> assign_devices(const std::vector<RankDevices>& ranks) {
  std::set<std::pair<std::string, std::string>> taken;
  std::vector<std::vector<std::string>> assigned;
  for (const RankDevices& rank : ranks) {
    assigned.emplace_back();
    for (const std::string& device : rank.devices) {
      if (taken.emplace(rank.host, device).second) assigned.back().push_back(device);
    }
  }
  return assigned;
}

CombinedEnergy combine(std::vector<RankReading> readings) {
  std::ranges::stable_sort(readings, {}, &RankReading::rank);
  std::map<std::pair<std::string, std::string>, DeviceTotal> best;
  for (const RankReading& reading : readings) {
    for (DeviceTotal device : reading.devices) {
      device.host = reading.host;
      const auto [it, is_first] = best.try_emplace({device.host, device.device}, device);
      if (!is_first && device.gap_seconds < it->second.gap_seconds) it->second = device;
    }
  }
  CombinedEnergy combined;
  for (const auto& [key, device] : best) {
    combined.devices.push_back(device);
    combined.joules[device.known_source()] += device.joules;
    combined.gap_seconds += device.gap_seconds;
  }
  return combined;
}

std::string serialize(const RankDevices& devices) {
  return nlohmann::json{{"host", devices.host}, {"devices", devices.devices}}.dump();
}

RankDevices parse_rank_devices(const std::string& text) {
  try {
    const nlohmann::json json = nlohmann::json::parse(text);
    return {json.at("host"), json.at("devices").get<std::vector<std::string>>()};
  } catch (const nlohmann::json::exception& e) {
    throw Error(ErrorCode::kFormat, fmt::format("energy: a rank's devices: {}", e.what()));
  }
}

}  // namespace wattle
