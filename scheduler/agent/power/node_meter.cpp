#include "scheduler/agent/power/node_meter.h"

#include <algorithm>

#include "common/error.h"
#include "energy/meters/find_meters.h"
#include "scheduler/agent/processes/process.h"

namespace wattle::agent {
namespace {

constexpr char kGpu[] = "gpu:";

}  // namespace

bool is_gpu_meter(const std::string& name) { return name.starts_with(kGpu); }
std::string gpu_meter(const std::string& uuid) { return kGpu + uuid; }

NodeMeter::NodeMeter(const EnergyOptions& options, Clock& clock) {
  MeterEnvironment environment = MeterEnvironment::of_this_process();
  environment.cuda_visible_devices.reset();  // all GPUs of the node are its own
  FoundMeters found = find_meters(options, environment, clock);
  notes_ = std::move(found.notes);
  for (std::unique_ptr<Meter>& meter : found.meters) {
    const MeterInfo& info = meter->info();
    if (info.source == Source::kEstimatedModel) continue;  // runs have their own
    infos_[info.device] = info;
    meters_.push_back(std::move(meter));
  }
}

Readings NodeMeter::read() {
  Readings readings;
  for (const std::unique_ptr<Meter>& meter : meters_) {
    try {
      readings.by_device[meter->info().device] = meter->read();
    } catch (const Error&) {
      // The device is left out: its integrators see the gap, and reports say so.
    }
  }
  readings.at = boot_seconds();
  return readings;
}

std::string NodeMeter::label() const {
  JoulesBySource sources;
  for (const auto& [device, info] : infos_) sources[info.source] = 1;
  const bool has_host_meter = std::any_of(
      infos_.begin(), infos_.end(), [](const auto& entry) { return !is_gpu_meter(entry.first); });
  if (!has_host_meter) sources[Source::kEstimatedModel] = 1;
  return sources.label();
}

}  // namespace wattle::agent
