#include "scheduler/core/domain/job.h"

namespace wattle::scheduler {

const char* to_string(JobState state) {
  switch (state) {
    case JobState::kPending:
      return "PENDING";
    case JobState::kRunning:
      return "RUNNING";
    case JobState::kCompleted:
      return "COMPLETED";
    case JobState::kFailed:
      return "FAILED";
    case JobState::kCancelled:
      return "CANCELLED";
    case JobState::kPreempted:
      return "PREEMPTED";
    case JobState::kTimeout:
      return "TIMEOUT";
    case JobState::kNodeFail:
      return "NODE_FAIL";
  }
  return "?";
}

const char* to_string(Reason reason) {
  switch (reason) {
    case Reason::kNone:
      return "None";
    case Reason::kResources:
      return "Resources";
    case Reason::kPriority:
      return "Priority";
    case Reason::kPowerCap:
      return "PowerCap";
    case Reason::kEnergyBudget:
      return "EnergyBudget";
    case Reason::kDependency:
      return "Dependency";
    case Reason::kDependencyNeverSatisfied:
      return "DependencyNeverSatisfied";
    case Reason::kPreempted:
      return "Preempted";
    case Reason::kResize:
      return "Resize";
    case Reason::kNodeDown:
      return "NodeDown";
    case Reason::kCancelled:
      return "Cancelled";
    case Reason::kNonZeroExit:
      return "NonZeroExitCode";
    case Reason::kNodeStartFailure:
      return "NodeStartFailure";
    case Reason::kReserved:
      return "Reserved";
    case Reason::kNodesUnavailable:
      return "ReqNodeNotAvail";
  }
  return "?";
}

}  // namespace wattle::scheduler
