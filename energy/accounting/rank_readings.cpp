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
