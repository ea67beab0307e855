#include "scheduler/agent/power/node_energy.h"

#include <algorithm>
#include <chrono>

namespace wattle::agent {
namespace {

/// Nothing is known of a time between two bookings that is longer than this.
constexpr double kLongestInterval = 10;

std::string text_of(Source source) { return std::string(label_of(source)); }

}  // namespace

NodeEnergy::NodeEnergy(const std::map<std::string, MeterInfo>& meters,
                       std::vector<NodeDevice> devices)
    : devices_(std::move(devices)),
      by_device_(devices_.size()),
      began_(std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch())
                 .count()) {
  for (const auto& [name, info] : meters) {
    integrators_.emplace(name, Integrator(info, kLongestInterval));
    has_host_meter_ = has_host_meter_ || !is_gpu_meter(name);
  }
  const auto is_processor = [](const NodeDevice& device) { return !device.is_gpu(); };
  for (size_t i = 0; i < devices_.size(); ++i) {
    if (is_processor(devices_[i])) by_device_[i].source = text_of(Source::kEstimatedModel);
  }
  if (has_host_meter_ && std::ranges::count_if(devices_, is_processor) == 1) {
    sole_processor_ =
        static_cast<int>(std::ranges::find_if(devices_, is_processor) - devices_.begin());
  }
}

/// -1 for a meter that measures no device alone.
int NodeEnergy::device_of(const std::string& meter) const {
  if (!is_gpu_meter(meter)) return sole_processor_;
  for (size_t i = 0; i < devices_.size(); ++i) {
    if (devices_[i].is_gpu() && meter == gpu_meter(devices_[i].gpu_uuid))
      return static_cast<int>(i);
  }
  return -1;
}

double NodeEnergy::joules() const {
  double sum = 0;
  for (const auto& [source, joules] : by_source_) sum += joules;
  return sum;
}

void NodeEnergy::book_meters(const Readings& readings) {
  for (auto& [meter, integrator] : integrators_) {
    const auto reading = readings.by_device.find(meter);
    if (reading == readings.by_device.end()) {
      integrator.fail(readings.at, "the meter does not answer");
      continue;
    }
    const double joules = integrator.add(readings.at, reading->second);
    const std::string source = text_of(integrator.total().source);
    by_source_[source] += joules;
    const int device = device_of(meter);
    if (device < 0) continue;
    by_device_[static_cast<size_t>(device)].joules += joules;
    by_device_[static_cast<size_t>(device)].source = source;
  }
}

void NodeEnergy::book_model(double seconds, const std::vector<RunDraw>& runs) {
  std::vector<double> watts;
  for (const NodeDevice& device : devices_)
    watts.push_back(device.is_gpu() ? 0 : device.idle_watts);
  for (const RunDraw& run : runs) {
    std::vector<size_t> held;
    for (const int device : run.devices) {
      if (!devices_[static_cast<size_t>(device)].is_gpu())
        held.push_back(static_cast<size_t>(device));
    }
    for (const size_t device : held) watts[device] = run.watts / static_cast<double>(held.size());
  }
  for (size_t i = 0; i < watts.size(); ++i) {
    if (devices_[i].is_gpu() || static_cast<int>(i) == sole_processor_) continue;
    by_device_[i].joules += watts[i] * seconds;
    // A part of a package that is measured is in the package's joules already.
    if (!has_host_meter_) by_source_[by_device_[i].source] += watts[i] * seconds;
  }
}

void NodeEnergy::book(const Readings& readings, const std::vector<RunDraw>& runs) {
  const double seconds = readings.at - at_;
  if (at_ > 0 && seconds <= 0) return;
  book_meters(readings);
  if (at_ > 0 && seconds <= kLongestInterval) book_model(seconds, runs);
  if (at_ == 0) sampled_at_ = readings.at;
  at_ = readings.at;
}

bool NodeEnergy::sample(v1::PowerSample& sample) {
  const double seconds = at_ - sampled_at_;
  if (seconds <= 0) return false;
  sample.set_watts((joules() - sampled_joules_) / seconds);
  sample.set_agent_began(began_);
  for (const auto& [source, joules] : by_source_) {
    v1::SourceJoules& part = *sample.add_energy();
    part.set_source(source);
    part.set_joules(joules);
  }
  for (DeviceTotal& total : by_device_) {
    v1::PowerSample::Device& device = *sample.add_devices();
    device.set_watts((total.joules - std::exchange(total.sampled_joules, total.joules)) / seconds);
    device.set_source(total.source);
  }
  sampled_joules_ = joules();
  sampled_at_ = at_;
  return true;
}

}  // namespace wattle::agent
