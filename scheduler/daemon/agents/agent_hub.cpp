#include "scheduler/daemon/agents/agent_hub.h"

namespace wattle::scheduler {

void AgentHub::attach(const std::string& node, std::shared_ptr<Outbox> outbox) {
  const std::lock_guard lock(mutex_);
  auto& place = outboxes_[node];
  if (place) place->close();
  place = std::move(outbox);
}

bool AgentHub::detach(const std::string& node, const std::shared_ptr<Outbox>& outbox) {
  outbox->close();
  const std::lock_guard lock(mutex_);
  auto found = outboxes_.find(node);
  if (found == outboxes_.end() || found->second != outbox) return false;
  outboxes_.erase(found);
  readings_.erase(node);
  return true;
}

void AgentHub::send(const std::string& node, const v1::Command& command) {
  const std::lock_guard lock(mutex_);
  auto found = outboxes_.find(node);
  if (found != outboxes_.end()) found->second->put(command);
}

void AgentHub::heard(const std::string& node, const NodeReading& reading) {
  const std::lock_guard lock(mutex_);
  if (outboxes_.contains(node)) readings_[node] = reading;
}

std::optional<NodeReading> AgentHub::reading(const std::string& node) const {
  const std::lock_guard lock(mutex_);
  auto found = readings_.find(node);
  return found == readings_.end() ? std::nullopt : std::optional(found->second);
}

double AgentHub::watts() const {
  const std::lock_guard lock(mutex_);
  double watts = 0;
  for (const auto& [node, reading] : readings_) watts += reading.watts;
  return watts;
}

void AgentHub::close() {
  const std::lock_guard lock(mutex_);
  for (auto& [node, outbox] : outboxes_) outbox->close();
}

}  // namespace wattle::scheduler
