#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "scheduler/daemon/agents/outbox.h"

namespace wattle::scheduler {

/// What one device drew, and where the figure comes from; "" = nothing is known.
struct DeviceReading {
  double watts = 0;
  std::string source;
};

/// What was last heard of a node.
struct NodeReading {
  double watts = 0;
  std::string source;
  double heard_seconds = 0;
  std::vector<DeviceReading> devices;  ///< in the order of its registration
};

/// The streams to the agents that are there now: one a node. Any thread.
class AgentHub {
 public:
  /// A node's new stream; an older one of the node is closed. Commands that are sent to the node
  /// from now on go to `outbox`.
  void attach(const std::string& node, std::shared_ptr<Outbox> outbox);
  /// The stream is gone; says whether it was still the node's newest.
  bool detach(const std::string& node, const std::shared_ptr<Outbox>& outbox);

  /// Puts a command on the node's stream; dropped where there is none: what still counts is said
  /// again after the next registration.
  void send(const std::string& node, const v1::Command& command);

  void heard(const std::string& node, const NodeReading& reading);
  std::optional<NodeReading> reading(const std::string& node) const;
  /// Of all nodes that have a stream.
  double watts() const;
  /// Ends every stream.
  void close();

 private:
  mutable std::mutex mutex_;
  std::map<std::string, std::shared_ptr<Outbox>> outboxes_;
  std::map<std::string, NodeReading> readings_;
};

}  // namespace wattle::scheduler
