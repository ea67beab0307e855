#pragma once

#include <optional>
#include <string>

#include "scheduler/agent/processes/keeper.h"

namespace wattle::agent {

/// A run's command as the agent sees it: behind its keeper, which this agent or one before it has
/// started. Not thread-safe.
class KeptCommand {
 public:
  /// `mark`: all processes of the run carry it in their environment as `variable`.
  KeptCommand(std::string folder, std::string variable);

  /// Whether a keeper was ever started here. Then there will be an ending.
  bool was_started() const { return was_started_; }
  /// Throws Error(kIo) if it can't be started; it may be tried again then.
  void start(const std::string& program, const KeeperOrder& order);

  /// How it ended, when nothing of it is left. If the keeper was killed, its processes are killed
  /// here, and the exit code is 137.
  std::optional<Ending> ending();
  /// For agents to come, where no keeper did. Throws Error(kIo).
  void note_ending(const Ending& ending) const;
  /// Whether a keeper, this agent's or one that an agent before it has just started, is at work or
  /// about to be.
  bool is_kept();

  std::optional<ProcessId> keeper() const { return keeper_; }
  std::optional<ProcessId> command();
  /// Kills everything but the keeper, which then writes the ending.
  void kill();
  /// Processor time of all that belongs to it, up to now.
  double cpu_seconds() const;

 private:
  std::string folder_, variable_;
  bool was_started_ = false;
  std::optional<ProcessId> keeper_, command_;
};

}  // namespace wattle::agent
