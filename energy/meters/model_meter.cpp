#include "energy/meters/model_meter.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <fstream>
#include <map>

#include "common/error.h"

namespace wattle {
namespace {

/// A family of processors and what one logical processor of it draws.
struct ProcessorFamily {
  const char* name;
  const char* vendor;
  int family;
  std::array<int, 4> models;  // unused places are -1
  int first_stepping, last_stepping;
  double idle_watts, max_watts;
};

constexpr int kAny = 1 << 20;

/// Watts: Cloud Carbon Footprint, cloud-carbon-coefficients, output/coefficients-gcp-use.csv (EPYC
/// 1st Gen: coefficients-aws-use.csv), derived there from SPECpower_ssj2008 results per logical
/// processor. Family and model numbers: Intel SDM volume 4, AMD revision guides.
constexpr ProcessorFamily kFamilies[] = {
    {"Sandy Bridge", "GenuineIntel", 6, {42, 45, -1, -1}, 0, kAny, 2.1694, 8.5502},
    {"Ivy Bridge", "GenuineIntel", 6, {58, 62, -1, -1}, 0, kAny, 3.0369, 8.1997},
    {"Haswell", "GenuineIntel", 6, {60, 63, 69, 70}, 0, kAny, 1.9006, 5.9689},
    {"Broadwell", "GenuineIntel", 6, {61, 71, 79, 86}, 0, kAny, 0.7128, 3.3857},
    {"Skylake", "GenuineIntel", 6, {85, -1, -1, -1}, 0, 4, 0.6446, 3.8985},
    {"Cascade Lake", "GenuineIntel", 6, {85, -1, -1, -1}, 5, kAny, 0.6389, 3.6425},
    {"EPYC 1st Gen", "AuthenticAMD", 23, {1, -1, -1, -1}, 0, kAny, 0.8227, 2.5531},
    {"EPYC 2nd Gen", "AuthenticAMD", 23, {49, -1, -1, -1}, 0, kAny, 0.4743, 1.5752},
    {"EPYC 3rd Gen", "AuthenticAMD", 25, {1, -1, -1, -1}, 0, kAny, 0.4454, 1.8719},
};

/// For a processor that is in no table: the averages that the same source uses for unknown ones.
constexpr ProcessorFamily kGeneric = {"a generic processor", "", 0, {}, 0, 0, 0.71, 4.26};

struct CpuInfo {
  int logical_processors = 0;
  std::map<std::string, std::string> first;  // the fields of the first processor
};

CpuInfo read_cpuinfo(const std::string& root) {
  CpuInfo info;
  std::ifstream file(root + "/proc/cpuinfo");
  for (std::string line; std::getline(file, line);) {
    const size_t colon = line.find(':');
    if (colon == std::string::npos) continue;
    const std::string key = line.substr(0, line.find_last_not_of(" \t", colon - 1) + 1);
    if (key == "processor") ++info.logical_processors;
    const size_t value = line.find_first_not_of(" \t", colon + 1);
    info.first.emplace(key, value == std::string::npos ? "" : line.substr(value));
  }
  info.logical_processors = std::max(info.logical_processors, 1);
  return info;
}

int number_in(const CpuInfo& info, const std::string& key) {
  const auto it = info.first.find(key);
  if (it == info.first.end() || it->second.empty() ||
      it->second.find_first_not_of("0123456789") != std::string::npos || it->second.size() > 6) {
    return -1;
  }
  return std::stoi(it->second);
}

const ProcessorFamily& family_of(const CpuInfo& info) {
  const auto vendor = info.first.find("vendor_id");
  if (vendor == info.first.end()) return kGeneric;
  const int family = number_in(info, "cpu family");
  const int model = number_in(info, "model");
  const int stepping = number_in(info, "stepping");
  for (const ProcessorFamily& known : kFamilies) {
    if (vendor->second == known.vendor && family == known.family && model >= 0 &&
        std::ranges::find(known.models, model) != known.models.end() &&
        stepping >= known.first_stepping && stepping <= known.last_stepping) {
      return known;
    }
  }
  return kGeneric;
}

class IdleMeter final : public Meter {
 public:
  IdleMeter(const HostPower& power, Clock& clock) : clock_(clock), watts_(power.idle_watts) {
    info_.device = "cpu:idle";
    info_.source = Source::kEstimatedModel;
    info_.is_cheap = true;
    info_.idle_watts = power.idle_watts;
    info_.busy_watts = power.max_watts;
    start_seconds_ = clock.now_seconds();
  }
  const MeterInfo& info() const override { return info_; }
  double read() override { return watts_ * (clock_.now_seconds() - start_seconds_); }

 private:
  Clock& clock_;
  double watts_;
  double start_seconds_;
  MeterInfo info_;
};

class ProcessMeter final : public Meter {
 public:
  ProcessMeter(const HostPower& power, int pid, std::function<double()> cpu_seconds)
      : cpu_seconds_(std::move(cpu_seconds)),
        watts_per_processor_((power.max_watts - power.idle_watts) / power.logical_processors),
        start_cpu_seconds_(cpu_seconds_()) {
    info_.device = fmt::format("cpu:process-{}", pid);
    info_.source = Source::kEstimatedModel;
    info_.is_cheap = true;
    info_.idle_watts = 0;
  }
  const MeterInfo& info() const override { return info_; }
  double read() override { return watts_per_processor_ * (cpu_seconds_() - start_cpu_seconds_); }

 private:
  std::function<double()> cpu_seconds_;
  double watts_per_processor_;
  double start_cpu_seconds_;
  MeterInfo info_;
};

}  // namespace

HostPower host_power(std::optional<double> idle_watts, std::optional<double> max_watts,
                     const std::string& root) {
  const CpuInfo info = read_cpuinfo(root);
  const ProcessorFamily& family = family_of(info);
  const int processors = info.logical_processors;
  HostPower power{idle_watts.value_or(family.idle_watts * processors),
                  max_watts.value_or(family.max_watts * processors), processors, ""};
  const std::string table = fmt::format("{} ({:.2f} to {:.2f} W a logical processor)", family.name,
                                        family.idle_watts, family.max_watts);
  power.origin = idle_watts && max_watts   ? "idle_watts and max_watts"
                 : idle_watts || max_watts ? fmt::format("the given watts and {}", table)
                                           : table;
  if (power.idle_watts >= power.max_watts) {
    throw Error(
        ErrorCode::kConfig,
        fmt::format("energy: idle power {} W is not below maximum power {} W (from {}): give "
                    "both idle_watts and max_watts",
                    power.idle_watts, power.max_watts, power.origin));
  }
  return power;
}

std::vector<std::unique_ptr<Meter>> model_meters(const HostPower& power, int pid,
                                                 std::function<double()> cpu_seconds,
                                                 Clock& clock) {
  std::vector<std::unique_ptr<Meter>> meters;
  meters.push_back(std::make_unique<IdleMeter>(power, clock));
  meters.push_back(std::make_unique<ProcessMeter>(power, pid, std::move(cpu_seconds)));
  return meters;
}

}  // namespace wattle
