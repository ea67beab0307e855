#include <fmt/format.h>

#include "scheduler/agent/agent.h"
#include "scheduler/agent/power/fall_back.h"

namespace wattle::agent {
namespace {

constexpr double kPatienceSeconds = 10;

}  // namespace

bool Agent::is_cut_off() const { return boot_seconds() >= lease_->read().watts_until; }

void Agent::send(v1::AgentMessage message) {
  if (is_registered_) link_->send(stream_, std::move(message));
}

void Agent::acknowledge(int64_t sequence) {
  v1::AgentMessage message;
  message.mutable_acknowledged()->set_sequence(sequence);
  send(std::move(message));
}

void Agent::tick() {
  const double now = boot_seconds();
  watch_lease(now);
  const Readings readings = meter_.read();
  for (const auto& [token, run] : runs_) {
    const bool was_known = run->is_to_be_told();
    run->tick(readings, is_cut_off());
    if (run->is_to_be_told() && !was_known) report_at_ = 0;
  }
  if (stream_ != 0 && !is_registered_ && now > opened_at_ + kPatienceSeconds) {
    link_->drop(stream_);
  }
  send_regular(now, readings);
}

/// The keepers hold to the lease by themselves; here the books follow.
void Agent::watch_lease(double now) {
  const bool cut_off = now >= lease_->read().watts_until;
  if (cut_off && !was_cut_off_) {
    parts_.say("the lease has run out: all devices are at their safe limits");
    for (const auto& [token, run] : runs_) run->fall_to_safe();
  }
  // Half-open, or the registration was answered so late that its lease is over already: it
  // registers again before it obeys anyone.
  if (cut_off && is_registered_) {
    link_->drop(stream_);
    is_registered_ = false;
  }
  was_cut_off_ = cut_off;
}

void Agent::send_ends() {
  const auto send_end = [this](const v1::RunExited& exited) {
    v1::AgentMessage message;
    *message.mutable_run_exited() = exited;
    send(std::move(message));
  };
  for (const auto& [token, run] : runs_) {
    if (run->is_to_be_told()) send_end(*run->record().exited);
  }
  for (const auto& [token, exited] : refused_) send_end(exited);
}

void Agent::send_regular(double now, const Readings& readings) {
  if (!is_registered_) return;
  if (now >= heartbeat_at_ + terms_.heartbeat_seconds) {
    heartbeat_at_ = now;
    v1::AgentMessage message;
    message.mutable_heartbeat()->set_number(++heartbeat_);
    heartbeats_sent_[heartbeat_] = now;
    send(std::move(message));
  }
  if (now < report_at_ + terms_.report_seconds) return;
  report_at_ = now;
  for (const auto& [token, run] : runs_) run->report();
  send_ends();
  v1::AgentMessage message;
  message.mutable_power_sample()->set_watts(watts(readings));
  message.mutable_power_sample()->set_source(meter_.label());
  send(std::move(message));
}

/// Of all devices since the last report: by meters where there are any for the processors, else
/// GPUs by their meters and processors by the model (runs' shares, and idle devices at idle).
double Agent::watts(const Readings& readings) {
  double joules = 0;
  bool has_host_meter = false;
  for (auto& [device, integrator] : node_meters_) {
    const auto reading = readings.by_device.find(device);
    has_host_meter = has_host_meter || !device.starts_with("gpu:");
    if (reading != readings.by_device.end()) {
      integrator.add(readings.at, reading->second);
    } else {
      integrator.fail(readings.at, "the meter does not answer");
    }
    joules += integrator.total().joules;
  }
  double watts = node_joules_at_ > 0 && readings.at > node_joules_at_
                     ? (joules - node_joules_) / (readings.at - node_joules_at_)
                     : 0;
  node_joules_ = joules;
  node_joules_at_ = readings.at;
  if (has_host_meter) return watts;
  std::vector<bool> is_held(settings_.devices.size());
  for (const auto& [token, run] : runs_) {
    if (run->has_ended()) continue;
    bool on_processors = false;
    for (int device : run->record().launch.devices()) {
      is_held[static_cast<size_t>(device)] = true;
      on_processors = on_processors || !settings_.devices[static_cast<size_t>(device)].is_gpu();
    }
    if (on_processors) watts += run->watts();
  }
  for (size_t i = 0; i < is_held.size(); ++i) {
    if (!is_held[i] && !settings_.devices[i].is_gpu()) watts += settings_.devices[i].idle_watts;
  }
  return watts;
}

}  // namespace wattle::agent
