#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "energy/energy_options.h"
#include "scheduler/config/tls_files.h"

namespace wattle::scheduler {

/// Devices of a node that are alike, as agent.yaml has them; each runs one rank.
struct AgentDeviceOptions {
  std::string type;
  int64_t count = 1;
  double idle_watts = 0;
  double max_watts = 0;
  std::optional<double> safe_limit_watts;
};

/// What the processes of a run may use at most; none = as the machine has it.
struct AgentRunLimits {
  std::optional<int64_t> memory_bytes, processes, open_files, file_bytes;
  void describe(Fields& f);
};

/// Under which account of the machine a tenant's jobs run.
struct TenantAccount {
  std::string tenant, account;
  void describe(Fields& f);
};

/// agent.yaml: what `wattle-agent` works with. Relative paths start at the working directory.
struct AgentOptions {
  std::string scheduler = "127.0.0.1:7443";
  std::string name;
  LinkSecurity security;
  std::string work_dir;
  std::string jobs_dir;  ///< empty = work_dir/jobs
  bool jobs_dir_is_shared = false;
  std::vector<AgentDeviceOptions> devices;  ///< empty = auto: what the machine has
  MeterKind meter = MeterKind::kAuto;
  std::string trace_path;
  std::optional<double> idle_watts, max_watts;  ///< of the node, for devices: auto and the model
  std::optional<double> safe_limit_watts;       ///< per device
  std::vector<TenantAccount> accounts;
  std::string run_as;
  AgentRunLimits limits;
  std::string train_program;
  std::string mpi_network;
  double stop_grace_seconds = 60;
  void describe(Fields& f);
};

/// Throws Error(kConfig) with all that is wrong, a line each, each with its place in the file.
AgentOptions read_agent_options(const std::string& path,
                                const std::vector<std::string>& overrides = {});

}  // namespace wattle::scheduler
