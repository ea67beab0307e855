#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <memory>

#include "launch/wattle/commands/client_command.h"
#include "launch/wattle/commands/commands.h"
#include "launch/wattle/text/quantities.h"
#include "launch/wattle/text/table.h"

namespace wattle {
namespace {

struct NodeArguments {
  ClientArguments client;
  std::vector<std::string> nodes;
  bool force = false;
};

/// As scontrol and kubectl say it: UP, LOST, DOWN, with +DRAIN.
std::string node_state(const v1::NodeSummary& node) {
  constexpr std::string_view kPrefix = "NODE_STATE_";
  return v1::NodeState_Name(node.state()).substr(kPrefix.size()) + (node.drained() ? "+DRAIN" : "");
}

std::string devices_of(const v1::NodeSummary& node) {
  std::string text;
  for (const auto& group : node.devices()) {
    text += fmt::format("{}{} x {}", text.empty() ? "" : ", ", group.count(), group.type());
  }
  return text;
}

int device_count(const v1::NodeSummary& node) {
  int count = 0;
  for (const auto& group : node.devices()) count += group.count();
  return count;
}

void nodes(const NodeArguments& arguments) {
  const auto response = ClusterClient(arguments.client.connect()).nodes();
  if (arguments.client.json) return print_json(json_list(response.nodes()));
  using enum Table::Align;
  Table table({{"NODE"},
               {"STATE"},
               {"IN USE", kRight},
               {"LIMIT", kRight},
               {"DRAWN", kRight},
               {"SOURCE"},
               {"JOBS"},
               {"DEVICES"},
               {"REASON"}});
  for (const auto& node : response.nodes()) {
    table.add({node.name(), node_state(node),
               fmt::format("{}/{}", node.devices_in_use(), device_count(node)),
               watts_text(node.limit_watts()), node.watts() > 0 ? watts_text(node.watts()) : "",
               node.energy_source(), fmt::format("{}", fmt::join(node.jobs(), ",")),
               devices_of(node), node.drain_reason()});
  }
  fmt::print("{}", table.text());
}

void say(const NodeArguments& arguments, const std::string& node, const char* what) {
  if (arguments.client.json) {
    print_json({{"node", node}, {"done", what}});
  } else {
    fmt::print("{} {}\n", node, what);
  }
}

void drain(const NodeArguments& arguments) {
  ClusterClient cluster(arguments.client.connect());
  for (const std::string& node : arguments.nodes) {
    cluster.drain(node, /*off=*/false);
    say(arguments, node, "is drained: what runs there goes on, nothing new starts");
  }
}

void undrain(const NodeArguments& arguments) {
  ClusterClient cluster(arguments.client.connect());
  for (const std::string& node : arguments.nodes) {
    cluster.drain(node, /*off=*/true);
    say(arguments, node, "takes jobs again");
  }
}

void remove(const NodeArguments& arguments) {
  ClusterClient cluster(arguments.client.connect());
  for (const std::string& node : arguments.nodes) {
    cluster.remove_node(node, arguments.force);
    say(arguments, node, "is removed: its watts are free, its jobs start elsewhere");
  }
}

}  // namespace

void add_node_commands(CLI::App& wattle) {
  const auto add = [&](const char* name, const char* meaning, void (*run)(const NodeArguments&)) {
    const auto arguments = std::make_shared<NodeArguments>();
    CLI::App* command = wattle.add_subcommand(name, meaning);
    arguments->client.add_to(*command);
    if (run != nodes) {
      command->add_option("node", arguments->nodes, "names of the nodes")->required();
    }
    if (run == remove) {
      command->add_flag("--force", arguments->force,
                        "believe it of a node that may still run jobs: you know that it is off");
    }
    command->callback([arguments, run] { run(*arguments); });
  };
  add("nodes", "nodes with their devices, limits and watts, as sinfo", nodes);
  add("drain", "start nothing more on nodes, as kubectl drain", drain);
  add("undrain", "let nodes take jobs again", undrain);
  add("remove", "vouch that nodes are off for good: their watts are free at once", remove);
}

}  // namespace wattle
