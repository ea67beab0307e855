#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "energy/energy_options.h"
#include "scheduler/agent/power/node_device.h"
#include "scheduler/agent/processes/as_user.h"
#include "scheduler/agent/processes/keeper.h"

namespace wattle::agent {

/// What an agent works with: agent.yaml, with everything found that is to be found on the machine.
/// Folders are absolute.
struct Settings {
  std::string node;
  std::string work_dir;                     ///< the agent's own: leases, runs/<token>
  std::string jobs_dir;                     ///< <job>: the jobs' folders
  std::string self_program;                 ///< wattle-agent
  std::string train_program;                ///< wattle-train
  std::map<std::string, Account> accounts;  ///< by tenant, whose runs belong to it
  std::optional<Account> account;           ///< of tenants without one; none = the agent's own
  RunLimits limits;
  std::string mpi_network;  ///< interfaces or subnets for traffic between ranks; "" = all
  double stop_grace_seconds = 60;
  /// Checkpoints go to the daemon, for another node; not where all nodes share jobs_dir.
  bool stores_checkpoints = true;
  std::vector<NodeDevice> devices;
  EnergyOptions meter;

  std::string lease_file() const { return work_dir + "/lease"; }

  /// Whose the runs of a tenant are; none = the agent's own. Throws Error(kConfig) where tenants
  /// have accounts and this one has none.
  std::optional<Account> account_of(const std::string& tenant) const;
};

}  // namespace wattle::agent
