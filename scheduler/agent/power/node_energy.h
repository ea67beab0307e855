#pragma once

#include <map>
#include <string>
#include <vector>

#include "energy/accounting/integrator.h"
#include "scheduler/agent/power/node_device.h"
#include "scheduler/agent/power/node_meter.h"
#include "scheduler/rpc/agent.pb.h"

namespace wattle::agent {

/// What a run draws of this node's devices now, as it books it itself.
struct RunDraw {
  std::vector<int> devices;
  double watts = 0;
};

/// The energy of a whole node, with and without runs, since this object was made:
/// - GPUs by their own meters, the processors by the node's meter where there is one;
/// - else the processors by the model: what runs book, and idle watts of devices that none holds.
/// While nobody has booked for ten seconds (the agent was stopped), the model counts nothing.
///
/// Not thread-safe.
class NodeEnergy {
 public:
  NodeEnergy(const std::map<std::string, MeterInfo>& meters, std::vector<NodeDevice> devices);

  /// Books everything up to these readings; `runs` are those that have not ended.
  void book(const Readings& readings, const std::vector<RunDraw>& runs);

  /// Joules so far, and watts on average since the last sample. False if no time has passed since.
  bool sample(v1::PowerSample& sample);

 private:
  struct DeviceTotal {
    double joules = 0;
    double sampled_joules = 0;
    std::string source;
  };
  void book_meters(const Readings& readings);
  void book_model(double seconds, const std::vector<RunDraw>& runs);
  int device_of(const std::string& meter) const;
  double joules() const;

  std::vector<NodeDevice> devices_;
  std::vector<DeviceTotal> by_device_;
  std::map<std::string, Integrator> integrators_;
  bool has_host_meter_ = false;
  int sole_processor_ = -1;  ///< the device that the node's meter measures alone
  std::map<std::string, double> by_source_;
  double began_ = 0;  ///< seconds since 1970
  double at_ = 0, sampled_at_ = 0;
  double sampled_joules_ = 0;
};

}  // namespace wattle::agent
