#include "scheduler/daemon/agents/commands.h"

namespace wattle::scheduler {
namespace {

void fill(const StoredFile& file, v1::FileRef& ref) {
  ref.set_path(file.path);
  ref.set_sha256(file.sha256);
  ref.set_size_bytes(file.size_bytes);
}

v1::Launch common_launch(const Start& start, const LaunchParts& parts) {
  v1::Launch launch;
  launch.set_job(start.job);
  launch.set_token(start.token);
  launch.set_limit_watts(start.limit_watts);
  launch.set_ranks(start.ranks);
  for (const StartShare& share : start.shares) {
    v1::Launch::Host& host = *launch.add_hosts();
    host.set_node(share.node);
    host.set_ranks(static_cast<int>(share.devices.size()));
  }
  launch.set_request(parts.request);
  launch.set_name(parts.name);
  launch.set_tenant(parts.tenant);
  launch.set_user(parts.submission.user);
  launch.set_yaml(parts.submission.yaml);
  for (const std::string& text : parts.submission.overrides) launch.add_overrides(text);
  for (const std::string& text : parts.overrides) launch.add_overrides(text);
  for (const StoredFile& file : parts.submission.inputs) fill(file, *launch.add_inputs());
  for (const StoredFile& file : parts.checkpoint) fill(file, *launch.add_checkpoint());
  return launch;
}

struct Translate {
  std::vector<Addressed> out;

  v1::Command& to(const std::string& node) { return out.emplace_back(Addressed{node, {}}).command; }

  void operator()(const SetLimit& d) {
    v1::SetLimit& command = *to(d.node).mutable_set_limit();
    command.set_token(d.token);
    command.mutable_devices()->Assign(d.devices.begin(), d.devices.end());
    command.set_limit_watts(d.limit_watts);
    command.set_sequence(d.sequence);
  }
  void operator()(const Stop& d) {
    for (const std::string& node : d.nodes) {
      v1::Stop& command = *to(node).mutable_stop();
      command.set_token(d.token);
      command.set_reason(to_string(d.reason));
    }
  }
  void operator()(const Kill& d) { to(d.node).mutable_kill()->set_token(d.token); }
  void operator()(const LeaseJoules& d) {
    v1::LeaseJoules& command = *to(d.node).mutable_lease_joules();
    command.set_token(d.token);
    command.set_joules(d.joules);
  }
  template <class Other>
  void operator()(const Other&) {}
};

}  // namespace

std::vector<Addressed> launch_commands(const Start& start, const LaunchParts& parts) {
  const v1::Launch common = common_launch(start, parts);
  std::vector<Addressed> commands;
  for (const StartShare& share : start.shares) {
    v1::Launch& launch = *commands.emplace_back(Addressed{share.node, {}}).command.mutable_launch();
    launch = common;
    launch.set_sequence(share.sequence);
    launch.mutable_devices()->Assign(share.devices.begin(), share.devices.end());
  }
  return commands;
}

std::optional<NotTaken> answer_to(const NodeUp& event, const std::vector<Decision>& decisions) {
  for (const Decision& decision : decisions) {
    const auto* refused = std::get_if<Refused>(&decision);
    if (refused && refused->what == event.node) return NotTaken{refused->why, true};
    const auto* deferred = std::get_if<Deferred>(&decision);
    if (deferred && deferred->node == event.node) return NotTaken{deferred->why, false};
  }
  return std::nullopt;
}

std::vector<Addressed> commands_of(const Decision& decision) {
  Translate translate;
  std::visit(translate, decision);
  return std::move(translate.out);
}

}  // namespace wattle::scheduler
