#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "scheduler/daemon/agents/drawn_watts.h"
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
  /// A stream on which nothing has come for `silence` is dead; power is told of each
  /// `report_seconds`.
  AgentHub(std::chrono::duration<double> silence, double report_seconds)
      : silence_(silence), report_seconds_(report_seconds) {}

  /// A node's new stream, of an agent's process; commands that are sent to the node from now on go
  /// to `outbox`. An older stream is closed if it is of the same process ("" is none's) or dead;
  /// false, and nothing is changed, where it is another one's and alive.
  bool attach(const std::string& node, const std::string& instance, std::shared_ptr<Outbox> outbox);
  /// Something has come on the node's stream.
  void note_alive(const std::string& node, const std::shared_ptr<Outbox>& outbox);
  /// Nothing is sent to the stream any more; its outbox may be attached again.
  void detach(const std::string& node, const std::shared_ptr<Outbox>& outbox);

  /// Puts a command on the node's stream; dropped where there is none: what still counts is said
  /// again after the next registration.
  void send(const std::string& node, const v1::Command& command);

  void heard(const std::string& node, const NodeReading& reading);
  std::optional<NodeReading> reading(const std::string& node) const;
  /// Drawn by all nodes that have a stream, over the newest `report_seconds` of which all have
  /// told. A sum of each one's newest figure would count twice what has just moved between two
  /// nodes.
  double watts() const;
  /// Ends every stream.
  void close();

 private:
  using Clock = std::chrono::steady_clock;
  struct Place {
    std::shared_ptr<Outbox> outbox;
    std::string instance;
    Clock::time_point heard;
  };

  std::chrono::duration<double> silence_;
  double report_seconds_;
  mutable std::mutex mutex_;
  std::map<std::string, Place> places_;
  std::map<std::string, NodeReading> readings_;
  std::map<std::string, DrawnWatts> drawn_;  // of the same nodes
};

}  // namespace wattle::scheduler
