#pragma once

#include <map>
#include <string>
#include <vector>

#include "scheduler/core/domain/job.h"

namespace wattle::scheduler {

enum class NodeState {
  kUp,
  kLost,  ///< its stream broke; its lease may still hold
  kDown,  ///< lease surely run out: it is at its safe limits and runs no job of ours
};

/// Devices of one type on one node.
struct DeviceGroup {
  DeviceType type;
  int count = 0;
  double safe_watts = 0;  ///< a device's limit when the agent is cut off
};

/// A device and the run that holds it, if any.
struct Device {
  NodeId node = 0;
  int type = 0;
  JobId job = 0;          ///< 0 = free
  double idle_watts = 0;  ///< of its own, as the cap ledger counts them; follows from Node::groups
};

/// Device::job of a device that is held by a run which is not ours any more and is being ended.
inline constexpr JobId kForeignRun = -1;

struct Node {
  NodeId id = 0;
  std::string name;
  NodeState state = NodeState::kDown;
  int64_t epoch = 0;  ///< of the agent's registration; older messages are refused
  bool drained = false;
  std::string drain_reason;  ///< where it was not an operator who did it
  int start_failures = 0;    ///< runs in a row that it could not begin, through its own fault
  bool shares_jobs_dir = false;
  bool removed = false;    ///< the operator says it is gone
  bool fell_safe = false;  ///< its lease has run out since it was lost
  double lost_seconds = 0;
  /// The terms of its registration: its watts and runs are its own for so long after it is lost.
  double lease_seconds = 0;
  double orphan_grace_seconds = 0;
  std::string work_dir_id;  ///< of its newest registration, as the next one (NodeUp)
  std::string boot_id;
  std::vector<DeviceGroup> groups;
  double idle_watts = 0;  ///< of all its devices, as the cap ledger counts them
  double safe_watts = 0;
  std::vector<DeviceId> devices;  ///< consecutive
  std::map<Token, std::vector<DeviceId>> foreign_runs;
};

}  // namespace wattle::scheduler
