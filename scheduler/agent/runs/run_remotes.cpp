#include <fmt/format.h>

#include "common/error.h"
#include "scheduler/agent/runs/job_command.h"
#include "scheduler/agent/runs/run.h"

/// What a run does about its other nodes.
namespace wattle::agent {

/// Where it can't be, the run has no way to its other nodes, and says so. It lies among the run's
/// own files, which may be in its way.
std::string Run::open_door() {
  try {
    remotes_ = std::make_unique<Remotes>(
        files_.folder, record_, account_, door_name(record_.launch), [this] { return remember(); },
        parts_.send);
    return "";
  } catch (const Error& e) {
    return fmt::format("there is no way to its other nodes: {}", e.what());
  }
}

/// An agent that was started again opens it anew.
void Run::watch_door() {
  if (needs_door() && !record_.is_killed) {
    if (const std::string why = open_door(); !why.empty()) return note_fault(why);
  }
  if (remotes_) remotes_->poll();
}

/// Each request is carried out once: it comes again with every registration of the asking node.
void Run::serve_remote(const v1::RemoteStart& start) {
  const bool is_known = record_.remote_request == start.request();
  const bool may_start = start.argv_size() > 0 && start.argv(0) == "orted" && !is_first();
  if (is_known) return;
  if (!may_start || record_.remote_request) {
    v1::AgentMessage message;
    v1::RemoteResult& result = *message.mutable_remote_result();
    result.set_token(start.token());
    result.set_request(start.request());
    result.set_node(start.from());
    result.set_output("wattle: only one orted is started for a run on each of its other nodes\n");
    result.set_ended(true);
    result.set_exit_code(126);
    return parts_.send(std::move(message));
  }
  record_.remote_request = start.request();
  record_.remote_from = start.from();
  record_.remote_argv.assign(start.argv().begin(), start.argv().end());
  remember();
}

}  // namespace wattle::agent
