#include "scheduler/daemon/agents/agent_hub.h"

#include <algorithm>

namespace wattle::scheduler {
namespace {

/// Reports that a node may be behind the others; then it is not waited for.
constexpr double kMostReportsBehind = 1.5;

}  // namespace

bool AgentHub::attach(const std::string& node, const std::string& instance,
                      std::shared_ptr<Outbox> outbox) {
  const std::lock_guard lock(mutex_);
  Place& place = places_[node];
  if (place.outbox) {
    const bool is_its_own = !instance.empty() && place.instance == instance;
    if (!is_its_own && Clock::now() - place.heard < silence_) return false;
    place.outbox->close();
  }
  place = {std::move(outbox), instance, Clock::now()};
  return true;
}

void AgentHub::note_alive(const std::string& node, const std::shared_ptr<Outbox>& outbox) {
  const std::lock_guard lock(mutex_);
  auto found = places_.find(node);
  if (found != places_.end() && found->second.outbox == outbox) found->second.heard = Clock::now();
}

void AgentHub::detach(const std::string& node, const std::shared_ptr<Outbox>& outbox) {
  const std::lock_guard lock(mutex_);
  auto found = places_.find(node);
  if (found == places_.end() || found->second.outbox != outbox) return;
  places_.erase(found);
  readings_.erase(node);
  drawn_.erase(node);
}

void AgentHub::send(const std::string& node, const v1::Command& command) {
  const std::lock_guard lock(mutex_);
  auto found = places_.find(node);
  if (found != places_.end()) found->second.outbox->put(command);
}

void AgentHub::heard(const std::string& node, const NodeReading& reading) {
  const std::lock_guard lock(mutex_);
  if (!places_.contains(node)) return;
  readings_[node] = reading;
  const double keep_seconds = (kMostReportsBehind + 2) * report_seconds_;
  drawn_[node].add(reading.heard_seconds, reading.watts, keep_seconds);
}

std::optional<NodeReading> AgentHub::reading(const std::string& node) const {
  const std::lock_guard lock(mutex_);
  auto found = readings_.find(node);
  return found == readings_.end() ? std::nullopt : std::optional(found->second);
}

double AgentHub::watts() const {
  const std::lock_guard lock(mutex_);
  double newest = 0;
  for (const auto& [node, drawn] : drawn_) newest = std::max(newest, drawn.newest_seconds());
  double until = newest;
  for (const auto& [node, drawn] : drawn_) {
    const double at = drawn.newest_seconds();
    if (at >= newest - kMostReportsBehind * report_seconds_) until = std::min(until, at);
  }
  double watts = 0;
  for (const auto& [node, drawn] : drawn_) watts += drawn.mean(until - report_seconds_, until);
  return watts;
}

void AgentHub::close() {
  const std::lock_guard lock(mutex_);
  for (auto& [node, place] : places_) place.outbox->close();
}

}  // namespace wattle::scheduler
