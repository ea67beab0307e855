#include <fmt/format.h>

#include <algorithm>
#include <csignal>
#include <filesystem>

#include "common/error.h"
#include "common/text.h"
#include "scheduler/agent/agent.h"

namespace wattle::agent {
namespace {

/// Of the commands that are for one run; 0 for others.
int64_t token_of(const v1::Command& command) {
  switch (command.body_case()) {
    case v1::Command::kSetLimit:
      return command.set_limit().token();
    case v1::Command::kStop:
      return command.stop().token();
    case v1::Command::kKill:
      return command.kill().token();
    case v1::Command::kLeaseJoules:
      return command.lease_joules().token();
    case v1::Command::kRemoteStart:
      return command.remote_start().token();
    case v1::Command::kRemoteResult:
      return command.remote_result().token();
    default:
      return 0;
  }
}

}  // namespace

void Agent::handle(const v1::Command& command) {
  if (command.has_registered()) return registered(command.registered());
  // Cut off, it obeys nobody before it has registered again.
  if (!is_registered_ || is_cut_off()) return;
  if (command.has_lease_renewal()) {
    const auto sent = heartbeats_sent_.find(command.lease_renewal().heartbeat());
    if (sent == heartbeats_sent_.end()) return;
    renew(sent->second);
    heartbeats_sent_.erase(heartbeats_sent_.begin(), std::next(sent));
  } else if (command.has_launch()) {
    launch(command.launch());
  } else if (command.has_exit_recorded()) {
    recorded(command.exit_recorded().token());
  } else if (const auto run = runs_.find(token_of(command)); run != runs_.end()) {
    const bool is_in_force = run->second->obey(command);
    if (!command.has_set_limit() || !is_in_force) return;
    for (int device : command.set_limit().devices()) {
      note_sequence(device, command.set_limit().sequence());
    }
    acknowledge(command.set_limit().sequence());
  } else if (command.has_remote_start()) {
    refuse(command.remote_start());
  }
}

void Agent::registered(const v1::Registered& registered) {
  terms_ = {registered.lease_seconds(), registered.orphan_grace_seconds(),
            std::clamp(registered.heartbeat_seconds(), 0.1, 60.0),
            std::clamp(registered.report_seconds(), 0.1, 600.0), registered.log_bytes()};
  is_registered_ = true;
  last_break_.clear();
  heartbeats_sent_.clear();
  parts_.say(fmt::format("registered as {} (epoch {}): {} devices, {} runs", settings_.node,
                         registered.epoch(), settings_.devices.size(), runs_.size()));
  // Also where an older lease goes on for longer: from now on the daemon counts by these terms.
  const double until = registration_sent_ + terms_.lease_seconds;
  lease_->renew({until, until + terms_.orphan_grace_seconds});
  watch_lease(boot_seconds());
  if (!is_registered_) return;
  for (const auto& [token, run] : runs_) {
    int64_t log_bytes = 0;
    for (const auto& log : registered.logs()) {
      if (log.token() == token) log_bytes = log.bytes();
    }
    run->registered(log_bytes, terms_.log_bytes);
  }
  send_ends();
}

void Agent::renew(double sent) {
  const double until = sent + terms_.lease_seconds;
  if (until > lease_->read().watts_until) {
    lease_->renew({until, until + terms_.orphan_grace_seconds});
  }
}

void Agent::note_sequence(int device, int64_t sequence) {
  if (device < 0 || device >= static_cast<int>(newest_sequence_.size())) return;
  int64_t& newest = newest_sequence_[static_cast<size_t>(device)];
  newest = std::max(newest, sequence);
}

/// Empty if a launch can be carried out.
std::string Agent::reason_against(const v1::Launch& launch) const {
  for (const auto& [token, run] : runs_) {
    if (run->has_ended()) continue;
    for (int held : run->record().launch.devices()) {
      const auto& wanted = launch.devices();
      if (std::find(wanted.begin(), wanted.end(), held) != wanted.end()) {
        return fmt::format("device {} is held by run {}", held, token);
      }
    }
  }
  return "";
}

void Agent::launch(const v1::Launch& launch) {
  const bool is_old =
      std::any_of(launch.devices().begin(), launch.devices().end(), [&](int device) {
        return device >= 0 && device < static_cast<int>(newest_sequence_.size()) &&
               launch.sequence() <= newest_sequence_[static_cast<size_t>(device)];
      });
  if (is_old) {
    if (!runs_.contains(launch.token()) && !refused_.contains(launch.token())) {
      refuse(launch.token(), {127, 0, boot_seconds(), "newer commands for its devices came before",
                              StartFault::kElsewhere});
    }
    return acknowledge(launch.sequence());
  }
  if (const std::string why = reason_against(launch); !why.empty()) {
    return refuse(launch.token(), {127, 0, boot_seconds(), why, StartFault::kElsewhere});
  }
  RunRecord record;
  record.launch = launch;
  record.limit_watts = launch.limit_watts();
  record.sequence = launch.sequence();
  const std::string folder = run_folder(settings_, launch.token());
  try {
    create(folder, record);
    runs_[launch.token()] = std::make_unique<Run>(parts_, folder, std::move(record));
  } catch (const std::exception& e) {
    std::error_code error;
    std::filesystem::remove_all(folder, error);
    return refuse(launch.token(), could_not_start(e));
  }
  for (int device : launch.devices()) note_sequence(device, launch.sequence());
  runs_.at(launch.token())->registered(0, terms_.log_bytes);
  acknowledge(launch.sequence());
}

/// A launch that can't begin has ended, as any other run.
void Agent::refuse(int64_t token, const Ending& ending) {
  parts_.say(fmt::format("run {}: can't be started: {}", token, ending.error));
  v1::RunExited& exited = refused_[token];
  exited.set_token(token);
  exited.set_exit_code(ending.exit_code);
  exited.set_error(cut(ending.error, kLongestCause));
  exited.set_blameless(ending.fault != StartFault::kNone);
  exited.set_node_at_fault(ending.fault == StartFault::kNode);
  v1::AgentMessage message;
  *message.mutable_run_exited() = exited;
  send(std::move(message));
}

void Agent::refuse(const v1::RemoteStart& start) {
  v1::AgentMessage message;
  v1::RemoteResult& result = *message.mutable_remote_result();
  result.set_token(start.token());
  result.set_request(start.request());
  result.set_node(start.from());
  result.set_output(
      fmt::format("wattle: node {} does not hold run {}\n", settings_.node, start.token()));
  result.set_ended(true);
  result.set_exit_code(127);
  send(std::move(message));
}

void Agent::recorded(int64_t token) {
  refused_.erase(token);
  const auto run = runs_.find(token);
  if (run == runs_.end() || !run->second->has_ended()) return;
  runs_.erase(run);
  std::error_code error;
  std::filesystem::remove_all(run_folder(settings_, token), error);
  if (error) parts_.say(fmt::format("run {}: {}", token, error.message()));
}

}  // namespace wattle::agent
