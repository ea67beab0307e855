#include "scheduler/agent/power/run_energy.h"

#include <algorithm>

namespace wattle::agent {
namespace {

/// Power samples farther apart than this leave a gap.
constexpr double kLongestInterval = 5;

const std::string kModel(label_of(Source::kEstimatedModel));

}  // namespace

double EnergyRecord::total() const {
  double sum = 0;
  for (const auto& [source, value] : joules) sum += value;
  return sum;
}

RunEnergy::RunEnergy(const std::map<std::string, MeterInfo>& meters,
                     std::vector<NodeDevice> devices, bool has_whole_node, EnergyRecord record)
    : devices_(std::move(devices)), record_(std::move(record)) {
  for (const auto& [name, info] : meters) {
    const bool is_mine = is_gpu_meter(name)
                             ? std::any_of(devices_.begin(), devices_.end(),
                                           [&name = name](const NodeDevice& device) {
                                             return name == gpu_meter(device.gpu_uuid);
                                           })
                             : has_whole_node;
    if (!is_mine) continue;
    has_host_meter_ = has_host_meter_ || !is_gpu_meter(name);
    Integrator& integrator =
        integrators_.emplace(name, Integrator(info, kLongestInterval)).first->second;
    const auto reading = record_.readings.find(name);
    if (reading != record_.readings.end()) integrator.add(record_.at, reading->second);
  }
}

bool RunEnergy::is_modelled() const {
  return !has_host_meter_ && std::any_of(devices_.begin(), devices_.end(),
                                         [](const NodeDevice& d) { return !d.is_gpu(); });
}

void RunEnergy::book_model(double seconds, double cpu_seconds) {
  if (!is_modelled()) return;
  const double used = std::max(0.0, cpu_seconds - record_.cpu_seconds);
  double idle_watts = 0, joules_per_cpu_second = 0;
  for (const NodeDevice& device : devices_) {
    idle_watts += device.idle_watts;
    joules_per_cpu_second = std::max(joules_per_cpu_second, device.joules_per_cpu_second());
  }
  record_.joules[kModel] += idle_watts * seconds + joules_per_cpu_second * used;
}

/// Whether they say what was used since the readings before.
bool RunEnergy::book_meters(const Readings& readings) {
  bool is_known = true;
  for (auto& [device, integrator] : integrators_) {
    is_known = book_meter(device, integrator, readings) && is_known;
  }
  return is_known;
}

bool RunEnergy::book_meter(const std::string& device, Integrator& integrator,
                           const Readings& readings) {
  const auto reading = readings.by_device.find(device);
  if (reading == readings.by_device.end()) {
    integrator.fail(readings.at, "the meter does not answer");
    record_.readings.erase(device);
    return false;
  }
  const bool had_reading = record_.readings.contains(device);
  const int gaps_before = integrator.total().gaps;
  const double joules = integrator.add(readings.at, reading->second);
  if (joules > 0) record_.joules[std::string(label_of(integrator.total().source))] += joules;
  record_.readings[device] = reading->second;
  return had_reading && integrator.total().gaps == gaps_before;
}

void RunEnergy::book(const Readings& readings, double cpu_seconds, double most_watts) {
  const double before = joules();
  const double seconds = readings.at - record_.at;
  if (record_.at > 0 && seconds <= 0) return;
  const bool is_known = book_meters(readings);
  if (record_.at > 0) {
    const bool is_lost = !is_known && seconds > kLongestInterval && joules() == before;
    if (is_lost) record_.joules[kModel] += most_watts * seconds;
    book_model(seconds, cpu_seconds);
    watts_ = (joules() - before) / seconds;
  }
  record_.at = readings.at;
  record_.cpu_seconds = std::max(record_.cpu_seconds, cpu_seconds);
}

void RunEnergy::book_end(const Readings& readings, std::optional<double> cpu_seconds, double ended,
                         double most_watts) {
  const double began = record_.at > 0 ? record_.at : readings.at;
  const double at = std::max(began, std::min(readings.at, ended));
  const double seconds = at - began;
  const std::map<std::string, double> before = record_.joules;
  const double joules_before = joules();
  const double most = most_watts * seconds;
  const bool is_known = book_meters(readings);
  if (!is_known || readings.at - at > kLongestInterval || seconds == 0) {
    const double counted = joules() - joules_before;
    record_.joules = before;
    const double estimate = is_known ? std::min(counted, most) : most;
    if (estimate > 0) record_.joules[kModel] += estimate;
  }
  if (cpu_seconds) {
    book_model(seconds, *cpu_seconds);
    record_.cpu_seconds = std::max(record_.cpu_seconds, *cpu_seconds);
  } else if (is_modelled()) {
    record_.joules[kModel] += most;
  }
  watts_ = readings.at > began ? (joules() - joules_before) / (readings.at - began) : 0;
  record_.at = at;
}

}  // namespace wattle::agent
