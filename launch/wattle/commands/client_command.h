#pragma once

#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "launch/wattle/client/client.h"
#include "launch/wattle/client/client_options.h"
#include "launch/wattle/client/message_json.h"

namespace CLI {
class App;
}

namespace wattle {

/// What every command that talks to the daemon takes: where it is, who asks, and --json.
struct ClientArguments {
  ClientOverrides overrides;
  bool json = false;

  void add_to(CLI::App& command);
  std::shared_ptr<Link> connect() const;
};

/// One value as the last line of standard output.
void print_json(const nlohmann::ordered_json& json);

/// Each message of a list.
template <class Messages>
nlohmann::ordered_json json_list(const Messages& messages) {
  auto list = nlohmann::ordered_json::array();
  for (const auto& message : messages) list.push_back(json_of(message));
  return list;
}

/// Seconds since 1970.
double now_seconds();

/// RUNNING, PENDING, ...
std::string state_text(v1::JobState state);

/// Why a job is where it is, with its words where it has failed; "" where there is no reason.
std::string reason_text(const v1::JobSummary& job);

/// COMPLETED, FAILED, CANCELLED, TIMEOUT, NODE_FAIL: nothing more will come of it.
bool is_finished(v1::JobState state);

/// Accepts the number of a job; names are for `after:` alone.
CLI::Validator job_number();

}  // namespace wattle
