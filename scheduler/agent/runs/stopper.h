#pragma once

#include <string>
#include <vector>

#include "scheduler/agent/processes/process.h"

namespace wattle::agent {

/// Ends a run step by step: SIGUSR1, by which the trainer saves a checkpoint and exits with 75;
/// after the grace time SIGTERM to all; ten seconds later SIGKILL to all.
///
/// SIGUSR1 ends a program that does not handle it, so that it waits until the ranks do (they have
/// just been started), and comes again every few seconds in case it was lost.
class Stopper {
 public:
  explicit Stopper(double grace_seconds) : grace_seconds_(grace_seconds) {}

  /// Does what is due `since_stop` seconds after the stop. `command`: what keeper runs; mpirun
  /// hands SIGUSR1 on, its daemon on another node (`is_remote`) does not: the ranks below get it.
  void step(const ProcessId& keeper, const ProcessId& command, bool is_remote, double since_stop);

  static constexpr double kTermSeconds = 10;

 private:
  double grace_seconds_;
  double signalled_at_ = -1;
  bool has_terminated_ = false;
};

/// Whether the process handles, blocks or ignores the signal.
bool minds(const ProcessId& process, int signal);

}  // namespace wattle::agent
