#include "energy/meters/nvml/nvml_meter.h"

#include <fmt/format.h>

#include "common/error.h"

namespace wattle {
namespace {

constexpr double kProbeSeconds = 0.5;
constexpr double kProbeStepSeconds = 0.01;
constexpr double kStuckAfterSeconds = 5;
constexpr double kMostWattsOfAGpu = 5000;

MeterInfo info_of(const NvmlDevice& device, Reading reading) {
  MeterInfo info;
  info.device = "gpu:" + device.uuid;
  info.reading = reading;
  info.source = reading == Reading::kJoules ? Source::kMeasuredNvml : Source::kIntegratedNvml;
  info.plausible_watts = kMostWattsOfAGpu;
  if (reading == Reading::kJoules) info.stuck_after_seconds = kStuckAfterSeconds;
  return info;
}

class NvmlMeter final : public Meter {
 public:
  NvmlMeter(std::shared_ptr<const Nvml> nvml, const NvmlDevice& device, Reading reading)
      : nvml_(std::move(nvml)), device_(device), info_(info_of(device, reading)) {}

  const MeterInfo& info() const override { return info_; }

  double read() override {
    const auto value = info_.reading == Reading::kJoules ? nvml_->total_energy_millijoules(device_)
                                                         : nvml_->power_milliwatts(device_);
    if (!value) throw Error(ErrorCode::kIo, fmt::format("{}: stopped to answer", info_.device));
    return static_cast<double>(*value) * 1e-3;
  }

 private:
  std::shared_ptr<const Nvml> nvml_;
  NvmlDevice device_;
  MeterInfo info_;
};

bool counts_energy(const Nvml& nvml, const NvmlDevice& device, Clock& clock) {
  const auto first = nvml.total_energy_millijoules(device);
  if (!first || *first == 0) return false;
  for (double waited = 0; waited < kProbeSeconds; waited += kProbeStepSeconds) {
    clock.sleep_for(kProbeStepSeconds);
    if (nvml.total_energy_millijoules(device) != first) return true;
  }
  return false;
}

}  // namespace

std::unique_ptr<Meter> nvml_meter(std::shared_ptr<const Nvml> nvml, const NvmlDevice& device,
                                  Clock& clock) {
  const bool counts = counts_energy(*nvml, device, clock);
  if (!counts && !nvml->power_milliwatts(device)) {
    throw Error(ErrorCode::kUnsupported,
                fmt::format("{} ({}) tells neither energy nor power", device.uuid, device.name));
  }
  return std::make_unique<NvmlMeter>(std::move(nvml), device,
                                     counts ? Reading::kJoules : Reading::kWatts);
}

}  // namespace wattle
