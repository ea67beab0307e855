#include "energy/meters/find_meters.h"

#include <fmt/format.h>
#include <unistd.h>

#include <cstdlib>
#include <iterator>

#include "common/error.h"
#include "energy/meters/cpu_time.h"
#include "energy/meters/model_meter.h"
#include "energy/meters/nvml/nvml_meter.h"
#include "energy/meters/rapl_meter.h"
#include "energy/meters/trace_meter.h"

namespace wattle {
namespace {

class MeterFinder {
 public:
  MeterFinder(const EnergyOptions& options, const MeterEnvironment& environment, Clock& clock)
      : options_(options), environment_(environment), clock_(clock) {}

  void add_gpus();
  void add_rapl() { add(rapl_meters(environment_.root)); }
  void add_model();
  void add_traces();
  void add_whatever_there_is();
  FoundMeters take() && { return std::move(found_); }

 private:
  void add(std::vector<std::unique_ptr<Meter>> meters) {
    for (auto& meter : meters) {
      const MeterInfo& info = meter->info();
      found_.notes.push_back(fmt::format("{}: {}", info.device, label_of(info.source)));
      found_.meters.push_back(std::move(meter));
    }
  }
  /// Runs `find`; false with a note if the machine has no such meters.
  bool tried(const std::string& name, const std::function<void()>& find) {
    try {
      find();
      return true;
    } catch (const Error& e) {
      found_.notes.push_back(fmt::format("{}: absent: {}", name, e.what()));
      return false;
    }
  }

  const EnergyOptions& options_;
  const MeterEnvironment& environment_;
  Clock& clock_;
  FoundMeters found_;
};

void MeterFinder::add_gpus() {
  const auto nvml = std::make_shared<const Nvml>(environment_.nvml_library);
  const auto devices = visible_devices(nvml->devices(), environment_.cuda_visible_devices);
  if (devices.empty()) {
    throw Error(ErrorCode::kUnsupported,
                environment_.cuda_visible_devices
                    ? fmt::format("CUDA_VISIBLE_DEVICES='{}' leaves no GPU",
                                  *environment_.cuda_visible_devices)
                    : "the driver finds no GPU");
  }
  std::vector<std::unique_ptr<Meter>> meters;
  for (const NvmlDevice& device : devices) meters.push_back(nvml_meter(nvml, device, clock_));
  add(std::move(meters));
}

void MeterFinder::add_model() {
  const HostPower power = host_power(options_.idle_watts, options_.max_watts, environment_.root);
  found_.notes.push_back(
      fmt::format("model: {:.1f} W idle to {:.1f} W with {} processors busy, from {}",
                  power.idle_watts, power.max_watts, power.logical_processors, power.origin));
  add(model_meters(power, environment_.pid, environment_.cpu_seconds, clock_));
}

void MeterFinder::add_traces() {
  std::vector<std::unique_ptr<Meter>> meters;
  for (PowerTrace& trace : read_power_traces(options_.trace_path)) {
    meters.push_back(std::make_unique<TraceMeter>(std::move(trace), clock_));
  }
  add(std::move(meters));
}

void MeterFinder::add_whatever_there_is() {
  tried("nvml", [this] { add_gpus(); });
  if (!tried("rapl", [this] { add_rapl(); })) add_model();
}

/// Runs `find` for a meter that was asked for by name.
void find_named(const char* name, const std::function<void()>& find) {
  try {
    find();
  } catch (const Error& e) {
    if (e.code() != ErrorCode::kUnsupported) throw;
    throw Error(ErrorCode::kConfig,
                fmt::format("energy.meter: {} is not here: {}", name, e.what()));
  }
}

}  // namespace

MeterEnvironment MeterEnvironment::of_this_process() {
  MeterEnvironment environment;
  if (const char* visible = std::getenv("CUDA_VISIBLE_DEVICES")) {
    environment.cuda_visible_devices = visible;
  }
  environment.pid = getpid();
  environment.cpu_seconds = process_cpu_seconds;
  return environment;
}

FoundMeters find_meters(const EnergyOptions& options, const MeterEnvironment& environment,
                        Clock& clock) {
  MeterFinder finder(options, environment, clock);
  switch (options.meter) {
    case MeterKind::kAuto:
      finder.add_whatever_there_is();
      break;
    case MeterKind::kNvml:
      find_named("nvml", [&] { finder.add_gpus(); });
      break;
    case MeterKind::kRapl:
      find_named("rapl", [&] { finder.add_rapl(); });
      break;
    case MeterKind::kModel:
      finder.add_model();
      break;
    case MeterKind::kTrace:
      finder.add_traces();
      break;
  }
  return std::move(finder).take();
}

}  // namespace wattle
