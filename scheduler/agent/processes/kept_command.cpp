#include "scheduler/agent/processes/kept_command.h"

#include <sys/wait.h>

#include <csignal>
#include <filesystem>

#include "energy/meters/cpu_time.h"
#include "scheduler/agent/processes/keeper_files.h"

namespace wattle::agent {

KeptCommand::KeptCommand(std::string folder, std::string variable)
    : folder_(std::move(folder)), variable_(std::move(variable)), keeper_(keeper_of(folder_)) {
  was_started_ = keeper_.has_value() || ending_of(folder_).has_value();
}

void KeptCommand::start(const std::string& program, const KeeperOrder& order) {
  write_order(folder_, order);
  keeper_ = start_keeper(program, folder_);
  was_started_ = true;
}

std::optional<ProcessId> KeptCommand::command() {
  if (!command_) command_ = command_of(folder_);
  return command_;
}

/// The one that has the lock writes its id.
bool KeptCommand::is_kept() {
  if (keeper_ && is_running(*keeper_)) return true;
  if (const auto known = keeper_of(folder_)) {
    keeper_ = known;
    return is_running(*known);
  }
  return is_keeper_lock_held(folder_);
}

std::optional<Ending> KeptCommand::ending() {
  if (!was_started_) return std::nullopt;
  if (keeper_) ::waitpid(keeper_->pid, nullptr, WNOHANG);  // ECHILD if another agent started it
  if (auto ending = ending_of(folder_)) return ending;
  if (is_kept()) return std::nullopt;
  if (auto ending = ending_of(folder_)) return ending;  // between the two looks
  bool is_empty = true;
  for (const auto& [process, value] : started_with(variable_)) {
    if (value != folder_) continue;
    is_empty = false;
    send_signal(process, SIGKILL);
  }
  if (!is_empty) return std::nullopt;
  if (!keeper_of(folder_)) {
    return Ending{127, 0, boot_seconds(), "no keeper could be started", StartFault::kNode};
  }
  // So it is, too, when the machine went down.
  return Ending{128 + SIGKILL, std::nullopt, boot_seconds(),
                "the process that kept the run was killed", StartFault::kElsewhere};
}

void KeptCommand::note_ending(const Ending& ending) const {
  if (!ending_of(folder_)) write_ending(folder_, ending);
}

void KeptCommand::kill() {
  if (keeper_) signal_all(descendants(*keeper_), SIGKILL);
}

double KeptCommand::cpu_seconds() const {
  if (const auto ending = ending_of(folder_)) return ending->cpu_seconds.value_or(0);
  return keeper_ ? tree_cpu_seconds(keeper_->pid) : 0;
}

}  // namespace wattle::agent
