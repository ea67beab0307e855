#include "scheduler/agent/runs/remotes.h"

#include <algorithm>

namespace wattle::agent {

Remotes::Remotes(const std::string& folder, RunRecord& record,
                 const std::optional<Account>& account, std::string door,
                 std::function<bool()> remember, std::function<void(v1::AgentMessage)> send)
    : record_(record),
      door_(folder, door, record.launch.hosts_size(), account),
      remember_(std::move(remember)),
      send_(std::move(send)) {}

void Remotes::send(const RemoteRequest& request) const {
  v1::AgentMessage message;
  v1::RemoteStart& start = *message.mutable_remote_start();
  start.set_token(record_.launch.token());
  start.set_request(request.number);
  start.set_node(record_.launch.hosts(request.host).node());
  for (const std::string& word : request.argv) start.add_argv(word);
  send_(std::move(message));
}

void Remotes::poll() {
  for (DoorRequest& asked : door_.poll()) {
    const auto ended = exit_codes_.find(asked.host);
    const bool is_known = std::any_of(record_.remotes.begin(), record_.remotes.end(),
                                      [&](const auto& r) { return r.host == asked.host; });
    if (ended != exit_codes_.end()) {
      door_.give_exit(asked.host, ended->second);
    } else if (asked.host < 0 || asked.host >= record_.launch.hosts_size()) {
      door_.give_exit(asked.host, 127);
    } else if (!is_known) {  // else a helper asks again, after the agent was started anew
      record_.remotes.push_back({asked.host + 1, asked.host, std::move(asked.argv)});
      if (remember_()) {
        send(record_.remotes.back());
      } else {
        record_.remotes.pop_back();
        door_.give_exit(asked.host, 126);
      }
    }
  }
}

void Remotes::take(const v1::RemoteResult& result) {
  for (const RemoteRequest& request : record_.remotes) {
    if (request.number != result.request()) continue;
    if (!result.output().empty()) door_.give_output(request.host, result.output());
    if (!result.ended() || exit_codes_.contains(request.host)) continue;
    exit_codes_[request.host] = result.exit_code();
    door_.give_exit(request.host, result.exit_code());
  }
}

void Remotes::send_again() {
  for (const RemoteRequest& request : record_.remotes) {
    if (!exit_codes_.contains(request.host)) send(request);
  }
}

}  // namespace wattle::agent
