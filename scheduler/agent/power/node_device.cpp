#include "scheduler/agent/power/node_device.h"

#include <fmt/format.h>
#include <sched.h>

#include <algorithm>
#include <cmath>

#include "common/error.h"
#include "energy/meters/model_meter.h"
#include "energy/meters/nvml/nvml.h"

namespace wattle::agent {
namespace {

constexpr double kLowestShare = 0.1;

NodeDevice device_of(const DeviceWish& wish) {
  NodeDevice device;
  device.type = wish.type;
  device.idle_watts = wish.idle_watts;
  device.min_limit_watts = wish.idle_watts + kLowestShare * (wish.max_watts - wish.idle_watts);
  device.max_limit_watts = wish.max_watts;
  device.safe_watts = wish.safe_watts.value_or(device.min_limit_watts);
  if (device.safe_watts < device.min_limit_watts || device.safe_watts > device.max_limit_watts) {
    throw Error(ErrorCode::kConfig,
                fmt::format("safe_limit_watts: expected {} to {} W for each {}, the limits that it "
                            "can hold; got {} W",
                            device.min_limit_watts, device.max_limit_watts, device.type,
                            device.safe_watts));
  }
  return device;
}

/// `Nvml` gives limits in milliwatts; registered ones are whole watts inside the range.
NodeDevice gpu_device(const Nvml& nvml, const NvmlDevice& gpu,
                      const std::optional<double>& safe_watts) {
  const auto range = nvml.power_limit_range(gpu);
  if (!range) {
    throw Error(ErrorCode::kUnsupported,
                fmt::format("GPU {} ({}) has no power limit that could be set: it can't be "
                            "scheduled by watts",
                            gpu.uuid, gpu.name));
  }
  NodeDevice device;
  device.type = gpu.name;
  device.gpu_uuid = gpu.uuid;
  device.min_limit_watts = std::ceil(static_cast<double>(range->least_milliwatts) / 1000);
  device.max_limit_watts = std::floor(static_cast<double>(range->most_milliwatts) / 1000);
  const auto drawn = nvml.power_milliwatts(gpu);
  // An idle GPU draws a fraction of its lowest limit; what it draws right now may be work.
  device.idle_watts = std::min(device.min_limit_watts,
                               drawn ? static_cast<double>(*drawn) / 1000 : device.min_limit_watts);
  device.safe_watts = safe_watts.value_or(device.min_limit_watts);
  return device;
}

std::vector<NodeDevice> gpu_devices(const std::optional<double>& safe_watts) {
  try {
    const Nvml nvml;
    std::vector<NodeDevice> devices;
    for (const NvmlDevice& gpu : nvml.devices()) {
      devices.push_back(gpu_device(nvml, gpu, safe_watts));
    }
    // Alike devices form one group only if their idle draw is the same: the highest counts.
    for (NodeDevice& device : devices) {
      for (const NodeDevice& other : devices) {
        if (other.type == device.type) {
          device.idle_watts = std::max(device.idle_watts, other.idle_watts);
        }
      }
    }
    return devices;
  } catch (const Error& e) {
    if (e.code() != ErrorCode::kUnsupported || std::string(e.what()).find("GPU ") == 0) throw;
    return {};
  }
}

void deal_cpus(std::vector<NodeDevice>& devices, const std::vector<int>& cpus) {
  const size_t count = devices.size(), total = cpus.size();
  for (size_t i = 0; i < count; ++i) {
    const size_t begin = i * total / count;
    const size_t end = std::max(begin + 1, (i + 1) * total / count);
    devices[i].cpus.assign(cpus.begin() + begin, cpus.begin() + end);
    devices[i].processors = static_cast<double>(total) / static_cast<double>(count);
  }
}

bool alike(const NodeDevice& a, const NodeDevice& b) {
  return a.type == b.type && a.idle_watts == b.idle_watts &&
         a.min_limit_watts == b.min_limit_watts && a.max_limit_watts == b.max_limit_watts &&
         a.safe_watts == b.safe_watts;
}

}  // namespace

std::vector<int> own_cpus() {
  cpu_set_t set;
  CPU_ZERO(&set);
  std::vector<int> cpus;
  if (::sched_getaffinity(0, sizeof(set), &set) != 0) {
    throw Error(ErrorCode::kIo, "the system does not say which processors may be used");
  }
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (CPU_ISSET(cpu, &set)) cpus.push_back(cpu);
  }
  return cpus;
}

std::vector<NodeDevice> processor_devices(const std::vector<DeviceWish>& wishes,
                                          const std::vector<int>& cpus) {
  std::vector<NodeDevice> devices;
  for (const DeviceWish& wish : wishes) {
    devices.insert(devices.end(), static_cast<size_t>(wish.count), device_of(wish));
  }
  deal_cpus(devices, cpus);
  return devices;
}

std::vector<NodeDevice> find_devices(const std::optional<double>& idle_watts,
                                     const std::optional<double>& max_watts,
                                     const std::optional<double>& safe_watts) {
  const std::vector<int> cpus = own_cpus();
  std::vector<NodeDevice> devices = gpu_devices(safe_watts);
  if (!devices.empty()) {
    deal_cpus(devices, cpus);
    return devices;
  }
  const HostPower power = host_power(idle_watts, max_watts);
  const DeviceWish wish{fmt::format("cpu-{}", cpus.size()), 1, power.idle_watts, power.max_watts,
                        safe_watts};
  return processor_devices({wish}, cpus);
}

std::vector<v1::DeviceGroup> groups_of(std::span<const NodeDevice> devices) {
  std::vector<v1::DeviceGroup> groups;
  const NodeDevice* last = nullptr;
  for (const NodeDevice& device : devices) {
    if (!last || !alike(*last, device)) {
      v1::DeviceGroup& group = groups.emplace_back();
      group.set_type(device.type);
      group.set_idle_watts(device.idle_watts);
      group.set_min_limit_watts(device.min_limit_watts);
      group.set_max_limit_watts(device.max_limit_watts);
      group.set_safe_watts(device.safe_watts);
    }
    groups.back().set_count(groups.back().count() + 1);
    last = &device;
  }
  return groups;
}

}  // namespace wattle::agent
