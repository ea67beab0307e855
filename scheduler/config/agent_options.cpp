#include "scheduler/config/agent_options.h"

#include <fmt/format.h>
#include <yaml-cpp/yaml.h>

#include <map>
#include <set>

#include "common/config/config_file.h"
#include "common/job_spec.h"

namespace wattle::scheduler {
namespace {

constexpr double kMostWatts = 1e9;

/// Reads one key of a device group; false if it has the wrong type.
bool read_key(const std::string& key, const YAML::Node& value, AgentDeviceOptions& device) {
  try {
    if (key == "type") device.type = value.as<std::string>();
    if (key == "count") device.count = value.as<int64_t>();
    if (key == "idle_watts") device.idle_watts = value.as<double>();
    if (key == "max_watts") device.max_watts = value.as<double>();
    if (key == "safe_limit_watts") device.safe_limit_watts = value.as<double>();
    return true;
  } catch (const YAML::Exception&) {
    return false;
  }
}

std::string fault_of(const AgentDeviceOptions& d) {
  if (d.type.empty()) return "type: is required";
  if (d.count < 1 || d.count > kMostNodeDevices) {
    return fmt::format("count: expected 1 to {}, got {}", kMostNodeDevices, d.count);
  }
  if (!(d.idle_watts >= 0 && d.idle_watts < d.max_watts && d.max_watts <= kMostWatts)) {
    return fmt::format("expected 0 <= idle_watts < max_watts, got {} and {}", d.idle_watts,
                       d.max_watts);
  }
  const double safe = d.safe_limit_watts.value_or(d.max_watts);
  if (!(safe > d.idle_watts && safe <= d.max_watts)) {
    return fmt::format(
        "safe_limit_watts: expected more than idle_watts and at most max_watts, "
        "got {}",
        safe);
  }
  return "";
}

std::string read_device(const YAML::Node& node, AgentDeviceOptions& device) {
  if (!node.IsMap()) return "expected {type, count, idle_watts, max_watts}";
  const std::vector<std::string> keys{"type", "count", "idle_watts", "max_watts",
                                      "safe_limit_watts"};
  for (const auto& entry : node) {
    const std::string key = entry.first.Scalar();
    if (std::find(keys.begin(), keys.end(), key) == keys.end()) {
      const std::string near = nearest(key, keys);
      return fmt::format("unknown key '{}'{}", key,
                         near.empty() ? "" : fmt::format(" (did you mean '{}'?)", near));
    }
    if (!read_key(key, entry.second, device)) {
      return fmt::format("{}: has the wrong type: {}", key, entry.second.Scalar());
    }
  }
  return fault_of(device);
}

std::string read_devices(const YAML::Node& node, std::vector<AgentDeviceOptions>& devices) {
  devices.clear();
  if (node.IsScalar() && node.Scalar() == "auto") return "";
  if (!node.IsSequence() || node.size() == 0) {
    return "expected auto, or a list of {type, count, idle_watts, max_watts}";
  }
  int64_t count = 0;
  for (size_t i = 0; i < node.size(); ++i) {
    const std::string wrong = read_device(node[i], devices.emplace_back());
    if (!wrong.empty()) return fmt::format("{}: {}", i, wrong);
    count += devices.back().count;
    if (count > kMostNodeDevices) {
      return fmt::format("{}: count: expected at most {} devices of all types, got {}", i,
                         kMostNodeDevices, count);
    }
  }
  return "";
}

void write_devices(const std::vector<AgentDeviceOptions>& devices, YAML::Node& node) {
  if (devices.empty()) node = "auto";
  for (const AgentDeviceOptions& d : devices) {
    YAML::Node entry;
    entry["type"] = d.type;
    entry["count"] = d.count;
    entry["idle_watts"] = d.idle_watts;
    entry["max_watts"] = d.max_watts;
    if (d.safe_limit_watts) entry["safe_limit_watts"] = *d.safe_limit_watts;
    node.push_back(entry);
  }
}

/// The schema has no "a word or a list": this one key brings its own reader and writer.
void describe_devices(Fields& f, std::vector<AgentDeviceOptions>& devices) {
  std::vector<std::string> unused;
  Field& field =
      f("devices", unused,
        "what the node has, at most 1024, one rank a device: its GPUs, else its processors "
        "as one device; or a list, safe_limit_watts may stand there, too");
  field.type = "auto or list of {type, count, idle_watts, max_watts}";
  field.default_text = "auto";
  field.read = [&devices](const YAML::Node& node) { return read_devices(node, devices); };
  field.write = [&devices](YAML::Node& node) { write_devices(devices, node); };
  field.present = [] { return true; };
}

}  // namespace

void AgentRunLimits::describe(Fields& f) {
  f("memory_bytes", memory_bytes, "address space of each process").unit("B").greater_than(0);
  f("processes", processes, "processes of the account").greater_than(0);
  f("open_files", open_files, "open files of each process").greater_than(0);
  f("file_bytes", file_bytes, "size of each file").unit("B").greater_than(0);
}

void TenantAccount::describe(Fields& f) {
  f("tenant", tenant, "as in its users' certificates").required();
  f("account", account, "of this machine").required();
}

void AgentOptions::describe(Fields& f) {
  f("scheduler", scheduler, "HOST:PORT of wattled");
  f("name", name, "of this node, as in its certificate").required();
  describe_security(f, security, "scheduler", scheduler);
  f("work_dir", work_dir, "the agent's folder: leases, runs, jobs").required();
  f("jobs_dir", jobs_dir, "folder of the jobs' own folders").default_is("jobs in work_dir");
  f("jobs_dir_is_shared", jobs_dir_is_shared,
    "all nodes see the same jobs_dir: jobs can save checkpoints from several nodes, and none is "
    "sent to the daemon");
  describe_devices(f, devices);
  f.choice("meter", meter,
           {{"auto", MeterKind::kAuto},
            {"nvml", MeterKind::kNvml},
            {"rapl", MeterKind::kRapl},
            {"model", MeterKind::kModel},
            {"trace", MeterKind::kTrace}},
           "where the node's joules come from");
  f("trace_path", trace_path, "power curve to replay with meter: trace");
  f("idle_watts", idle_watts, "what the node draws without work, for devices: auto and the model")
      .unit("W")
      .at_least(0)
      .at_most(kMostWatts);
  f("max_watts", max_watts, "what it draws with all cores busy")
      .unit("W")
      .greater_than(0)
      .at_most(kMostWatts);
  f("safe_limit_watts", safe_limit_watts, "limit of a device when the daemon is out of reach")
      .unit("W")
      .default_is("the lowest limit")
      .greater_than(0)
      .at_most(kMostWatts);
  f("accounts", accounts,
    "under whose account a tenant's jobs run, so that no tenant's process reaches another's files "
    "and processes");
  f("run_as", run_as,
    "account of tenants without one there; empty = the agent's own, or with accounts none: their "
    "jobs are refused");
  f("limits", limits, "what the processes of a run may use");
  f("train_program", train_program, "path of wattle-train; empty = beside wattle-agent");
  f("mpi_network", mpi_network, "interfaces or subnets for traffic between ranks; empty = all");
  f("stop_grace_seconds", stop_grace_seconds, "from SIGUSR1 to SIGTERM")
      .unit("s")
      .at_least(0)
      .at_most(86400);
  f.check([this](Checker& c) {
    c.require(!name.empty(), "name", "is empty");
    c.require(!work_dir.empty(), "work_dir", "is empty");
    std::map<std::string, std::string> tenant_of;
    std::set<std::string> tenants;
    for (size_t i = 0; i < accounts.size(); ++i) {
      const TenantAccount& one = accounts[i];
      c.require(tenants.insert(one.tenant).second, fmt::format("accounts.{}.tenant", i),
                fmt::format("{} is given twice", one.tenant));
      const auto [other, is_new] = tenant_of.emplace(one.account, one.tenant);
      c.require(is_new, fmt::format("accounts.{}.account", i),
                fmt::format("{} is {}'s already", one.account, other->second));
    }
    c.require((meter == MeterKind::kTrace) == !trace_path.empty(), "trace_path",
              "is required with meter: trace, and read with it alone");
    c.require(!idle_watts || !max_watts || *idle_watts < *max_watts, "max_watts",
              "expected more than idle_watts");
  });
}

AgentOptions read_agent_options(const std::string& path,
                                const std::vector<std::string>& overrides) {
  AgentOptions options;
  Fields fields = fields_of(options);
  Diagnostics diagnostics;
  read_config(path, fields, {overrides, {}}, diagnostics);
  diagnostics.throw_if_errors();
  return options;
}

}  // namespace wattle::scheduler
