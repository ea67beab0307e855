#include "scheduler/agent/power/idle_watts.h"

#include <algorithm>
#include <fstream>
#include <nlohmann/json.hpp>

#include "common/atomic_file.h"

namespace wattle::agent {
namespace {

nlohmann::json read_known(const std::string& path) {
  std::ifstream file(path);
  nlohmann::json known = nlohmann::json::parse(file, nullptr, /*allow_exceptions=*/false);
  return known.is_object() ? known : nlohmann::json::object();
}

void write_known(const std::string& path, const nlohmann::json& known) {
  AtomicFile file(path);
  file.write(known.dump(2) + "\n");
  file.commit();
}

}  // namespace

void keep_idle_watts(std::vector<NodeDevice>& devices, const std::string& path) {
  const nlohmann::json before = read_known(path);
  nlohmann::json known = before;
  for (NodeDevice& device : devices) {
    if (!device.is_gpu()) continue;
    const auto found = before.find(device.gpu_uuid);
    const double watts = found != before.end() && found->is_number() ? found->get<double>() : -1;
    if (watts >= 0 && watts <= device.min_limit_watts) device.idle_watts = watts;
  }
  for (NodeDevice& device : devices) {
    for (const NodeDevice& other : devices) {
      const bool is_alike = device.is_gpu() && other.type == device.type;
      if (is_alike) device.idle_watts = std::max(device.idle_watts, other.idle_watts);
    }
    if (device.is_gpu()) known[device.gpu_uuid] = device.idle_watts;
  }
  if (known != before) write_known(path, known);
}

}  // namespace wattle::agent
