#include "scheduler/daemon/metrics.h"

#include <fmt/format.h>

#include <algorithm>
#include <initializer_list>
#include <map>
#include <utility>

#include "scheduler/core/engine/state.h"
#include "scheduler/daemon/daemon.h"

namespace wattle::scheduler {
namespace {

/// Escapes a label's value.
std::string quoted(const std::string& text) {
  std::string out = "\"";
  for (char c : text) {
    if (c == '\\' || c == '"') out += '\\';
    out += c == '\n' ? std::string("\\n") : std::string(1, c);
  }
  return out + '"';
}

class Page {
 public:
  void family(const char* name, const char* type, const char* help) {
    name_ = name;
    text_ += fmt::format("# HELP {} {}\n# TYPE {} {}\n", name, help, name, type);
  }
  void sample(double value) { text_ += fmt::format("{} {}\n", name_, value); }
  void sample(const char* label, const std::string& of, double value) {
    sample({{label, of}}, value);
  }
  using Label = std::pair<const char*, std::string>;
  void sample(std::initializer_list<Label> labels, double value) {
    const char* separator = "{";
    text_ += name_;
    for (const auto& [label, of] : labels) {
      text_ += fmt::format("{}{}={}", std::exchange(separator, ","), label, quoted(of));
    }
    text_ += fmt::format("}} {}\n", value);
  }
  std::string take() { return std::move(text_); }

 private:
  std::string name_;
  std::string text_;
};

/// The ended ones are many, and counted as they end.
void add_jobs(const State& state, Page& page) {
  std::map<JobState, int64_t> count = state.ended.by_state();
  for (const JobId id : state.waiting) ++count[state.jobs.at(id).state];
  for (const JobId id : state.running) ++count[state.jobs.at(id).state];
  page.family("wattle_jobs", "gauge", "Jobs by state; ended ones while they are remembered.");
  for (const JobState s :
       {JobState::kPending, JobState::kRunning, JobState::kPreempted, JobState::kCompleted,
        JobState::kFailed, JobState::kCancelled, JobState::kTimeout, JobState::kNodeFail}) {
    page.sample("state", to_string(s), static_cast<double>(count[s]));
  }
}

void add_power(const State& state, double now, double drawn, Page& page) {
  page.family("wattle_cap_watts", "gauge", "The cluster's hard cap that holds now.");
  page.sample(state.hard_cap.at(now));
  page.family("wattle_limit_watts", "gauge",
              "Sum of the power limits that may be in force on all devices.");
  page.sample(state.ledger.possible_watts());
  page.family("wattle_power_watts", "gauge",
              "Drawn by all nodes, over the newest report_seconds of which all have told.");
  page.sample(drawn);
}

void add_nodes(const State& state, const AgentHub& agents, Page& page) {
  page.family("wattle_node_up", "gauge", "1 if the node's agent is connected.");
  for (const Node& node : state.nodes) {
    if (!node.removed) page.sample("node", node.name, node.state == NodeState::kUp);
  }
  page.family("wattle_node_power_watts", "gauge", "Drawn by the node's devices.");
  for (const Node& node : state.nodes) {
    const auto reading = agents.reading(node.name);
    if (reading && !node.removed) page.sample("node", node.name, reading->watts);
  }
}

void add_devices(const State& state, const AgentHub& agents, Page& page) {
  page.family("wattle_device_power_watts", "gauge",
              "Drawn by one device of a node, numbered as it registered them.");
  for (const Node& node : state.nodes) {
    const auto reading = agents.reading(node.name);
    if (!reading || node.removed) continue;
    for (size_t i = 0; i < std::min(node.devices.size(), reading->devices.size()); ++i) {
      const auto& [watts, source] = reading->devices[i];
      if (source.empty()) continue;
      const int type = state.devices[static_cast<size_t>(node.devices[i])].type;
      page.sample({{"node", node.name},
                   {"device", std::to_string(i)},
                   {"type", state.types[static_cast<size_t>(type)].name},
                   {"source", source}},
                  watts);
    }
  }
}

void add_node_energy(Daemon& daemon, Page& page) {
  page.family("wattle_node_energy_joules_total", "counter",
              "Used by the node's devices, with and without jobs, by where the figure comes from.");
  const auto totals =
      daemon.core().read_store([](Store& store) { return store.accounts().of_nodes(); });
  for (const NodeEnergyTotal& total : totals) {
    page.sample({{"node", total.node}, {"source", total.source}}, total.joules);
  }
}

/// Counters have what was reported: what is estimated may become less.
void add_tenants(Daemon& daemon, Page& page) {
  std::vector<EnergyRow> reported, estimated;
  daemon.core().read_store([&](Store& store) {
    reported = store.accounts().reported();
    estimated = store.accounts().estimated();
  });
  std::map<std::string, double> by_tenant, by_source, on_lost_nodes;
  for (const EnergyRow& row : reported) {
    by_tenant[row.tenant] += row.joules;
    by_source[row.source] += row.joules;
    on_lost_nodes[row.tenant] = 0;
  }
  for (const EnergyRow& row : estimated) on_lost_nodes[row.tenant] = row.joules;
  page.family("wattle_tenant_energy_joules_total", "counter",
              "Used by the tenant's jobs, as reported.");
  for (const auto& [name, joules] : by_tenant) page.sample("tenant", name, joules);
  page.family("wattle_jobs_energy_joules_total", "counter",
              "Used by all jobs, as reported, by where the figure comes from.");
  for (const auto& [name, joules] : by_source) page.sample("source", name, joules);
  page.family("wattle_tenant_lost_node_energy_joules", "gauge",
              "Estimated for the tenant's jobs on lost nodes and charged beside the counter; a "
              "report of such a node takes its place.");
  for (const auto& [name, joules] : on_lost_nodes) page.sample("tenant", name, joules);
}

void add_snapshots(Daemon& daemon, Page& page) {
  const SnapshotStatus status = daemon.core().snapshot_status();
  const auto records = daemon.core().read([](const Core& core) { return core.state().events; });
  page.family("wattle_snapshot_age_seconds", "gauge",
              "Time since the core's state was last kept in the journal; none before the first.");
  if (status.newest.time_seconds > 0)
    page.sample(std::max(0.0, daemon.now() - status.newest.time_seconds));
  page.family("wattle_snapshot_age_records", "gauge", "Records since then: a start replays them.");
  page.sample(static_cast<double>(records - status.newest.number));
  page.family("wattle_snapshot_size_bytes", "gauge",
              "Of the state that was last kept; 0 if an older version has kept it.");
  page.sample(static_cast<double>(status.newest.bytes));
  page.family("wattle_snapshot_failures_total", "counter",
              "States that could not be kept since the daemon began.");
  page.sample(static_cast<double>(status.failures));
}

}  // namespace

std::string prometheus_text(Daemon& daemon) {
  Page page;
  daemon.core().read([&](const Core& core) {
    add_jobs(core.state(), page);
    add_power(core.state(), daemon.now(), daemon.agents().watts(), page);
    add_nodes(core.state(), daemon.agents(), page);
    add_devices(core.state(), daemon.agents(), page);
  });
  add_node_energy(daemon, page);
  add_tenants(daemon, page);
  page.family("wattle_journal_writable", "gauge", "0 while the journal can't be written.");
  page.sample(daemon.core().store_fault().empty());
  page.family(
      "wattle_clock_offset_seconds", "gauge",
      "The scheduler's time less the machine's clock: so early (negative: late) come windows "
      "of caps, deadlines and budget periods.");
  page.sample(daemon.clock_offset_seconds());
  add_snapshots(daemon, page);
  return page.take();
}

}  // namespace wattle::scheduler
