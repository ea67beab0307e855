#pragma once

#include <functional>
#include <memory>
#include <utility>
#include <vector>

#include "energy/meters/find_meters.h"

namespace wattle {

/// A meter whose readings are a function of the test.
class FakeMeter final : public Meter {
 public:
  FakeMeter(MeterInfo info, std::function<double()> reading)
      : info_(std::move(info)), reading_(std::move(reading)) {}
  const MeterInfo& info() const override { return info_; }
  double read() override { return reading_(); }

 private:
  MeterInfo info_;
  std::function<double()> reading_;
};

inline MeterInfo counter_info(std::string device = "gpu:a", Source source = Source::kMeasuredNvml) {
  MeterInfo info;
  info.device = std::move(device);
  info.source = source;
  return info;
}

inline MeterInfo power_info(std::string device = "gpu:a") {
  MeterInfo info = counter_info(std::move(device), Source::kIntegratedNvml);
  info.reading = Reading::kWatts;
  return info;
}

inline FoundMeters one_meter(MeterInfo info, std::function<double()> reading) {
  FoundMeters found;
  found.meters.push_back(std::make_unique<FakeMeter>(std::move(info), std::move(reading)));
  return found;
}

}  // namespace wattle
