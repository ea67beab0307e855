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
  energy_.book(readings, draws());
  send_regular(now);
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

void Agent::send_regular(double now) {
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
  if (!energy_.sample(*message.mutable_power_sample())) return;
  message.mutable_power_sample()->set_source(meter_.label());
  send(std::move(message));
}

/// Of runs that have booked something. The devices of others are idle.
std::vector<RunDraw> Agent::draws() const {
  std::vector<RunDraw> draws;
  for (const auto& [token, run] : runs_) {
    if (run->watts() <= 0) continue;
    const auto& devices = run->record().launch.devices();
    draws.push_back({{devices.begin(), devices.end()}, run->watts()});
  }
  return draws;
}

}  // namespace wattle::agent
