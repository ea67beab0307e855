#pragma once

#include <memory>
#include <string>

namespace grpc {
class Channel;
}

namespace wattle::bench {

/// What an agent has seen so far.
struct AgentFigures {
  int64_t renewals = 0;  ///< heartbeats that were answered
  int64_t launches = 0;
  double slowest_renewal = 0;  ///< seconds from a heartbeat to its answer
  bool is_attached = false;    ///< registered, and the stream is whole
};

/// An agent that runs nothing: it registers eight devices, acknowledges what it is told, reports
/// plausible measurements of its runs, and ends none of them. Every call of beat() sends a
/// heartbeat. Works on gRPC's own threads; members may be called from any thread.
class SimulatedAgent {
 public:
  SimulatedAgent(std::shared_ptr<grpc::Channel> channel, const std::string& node);
  ~SimulatedAgent();
  SimulatedAgent(const SimulatedAgent&) = delete;
  SimulatedAgent& operator=(const SimulatedAgent&) = delete;

  void beat();
  AgentFigures figures() const;

  static constexpr int kDevices = 8;
  static constexpr double kIdleWatts = 25, kMinWatts = 100, kMaxWatts = 250;

 private:
  class Stream;
  std::unique_ptr<Stream> stream_;
};

}  // namespace wattle::bench
