#pragma once

#include <functional>
#include <map>
#include <string>

#include "scheduler/agent/remote/remote_door.h"
#include "scheduler/agent/runs/run_record.h"

namespace wattle::agent {

/// The asking side of starting mpirun's daemons on a run's other nodes: between the door, where
/// mpirun's helpers come in, and the stream. A request is numbered and on disk before it is sent,
/// and sent again with each registration; the other side starts each number once.
class Remotes {
 public:
  /// `record` is the run's; `remember` writes it to disk, false if that failed. Throws Error(kIo)
  /// if there can be no door.
  Remotes(const std::string& folder, RunRecord& record, const std::optional<Account>& account,
          std::string door, std::function<bool()> remember,
          std::function<void(v1::AgentMessage)> send);

  void poll();
  void take(const v1::RemoteResult& result);
  void send_again();

 private:
  void send(const RemoteRequest& request) const;

  RunRecord& record_;
  RemoteDoor door_;
  std::function<bool()> remember_;
  std::function<void(v1::AgentMessage)> send_;
  std::map<int, int> exit_codes_;  // by host
};

}  // namespace wattle::agent
