#include "scheduler/core/engine/state.h"

namespace wattle::scheduler {

void on(Round& round, const Drain& event) {
  State& state = round.state;
  auto found = state.node_by_name.find(event.node);
  if (found == state.node_by_name.end()) {
    round.decide(0, Refused{event.node, "there is no node " + event.node, std::nullopt}, "");
    return;
  }
  Node& node = state.nodes[found->second];
  if (node.drained != event.on) set_drained(round, node, event.on, "");
}

void set_drained(Round& round, Node& node, bool on, const std::string& reason) {
  State& state = round.state;
  node.drained = on;
  node.drain_reason = reason;
  node.start_failures = 0;
  for (DeviceId device : node.devices) {
    const Device& d = state.devices[device];
    if (on) {
      state.pool.remove(node.id, d.type, device);
    } else if (d.job == 0) {
      free_device(state, device);
    }
  }
  state.note_change();
  const std::string why = reason.empty() ? "nothing new starts there" : reason;
  round.decide(0, Noted{node.name, on ? "drained: " + why : "takes jobs again"}, "");
}

}  // namespace wattle::scheduler
