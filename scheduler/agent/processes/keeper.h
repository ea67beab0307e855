#pragma once

#include <sys/types.h>

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "scheduler/agent/processes/as_user.h"
#include "scheduler/agent/processes/process.h"

namespace wattle::agent {

/// What the processes of a run may use at most; nothing = as this machine has it.
struct RunLimits {
  std::optional<int64_t> memory_bytes;  ///< address space of each process
  std::optional<int64_t> processes;     ///< of the account
  std::optional<int64_t> open_files;
  std::optional<int64_t> file_bytes;  ///< of each file
};

/// What a run falls back to when its node's lease on watts has run out.
struct Fallback {
  std::string control_file;  ///< of the trainer; "" = none
  double cap_watts = 0;      ///< for it, the whole run's
  bool freezes = false;      ///< stops all processes instead, until there is a lease again
  std::map<std::string, double> gpu_limits;  ///< watts by UUID
};

/// Everything that is needed to run a command and to end it in time.
struct KeeperOrder {
  std::vector<std::string> argv;
  std::map<std::string, std::string> environment;  ///< all of it
  std::string folder;                              ///< working directory
  std::optional<Account> account;
  std::vector<int> cpus;  ///< allowed ones; empty = all
  RunLimits limits;
  std::string lease_file;
  std::string joules_file;  ///< of the run's own lease, on joules; "" = without end
  Fallback fallback;
  /// SIGUSR1 comes this long before the lease on runs ends, but not within the first third of the
  /// time after the lease on watts has ended.
  double stop_seconds = 0;
  /// A command that has had processes below it, and then none for this long, is killed: mpirun,
  /// which can lock up in PMIx when it ends (OpenMPI 4.1 with PMIx 4.2).
  std::optional<double> childless_seconds;
};

/// Why a command could not begin, or go on, where that is no fault of the job's.
enum class StartFault {
  kNone,
  kElsewhere,  ///< e.g. the daemon does not give a file, the machine went down
  kNode,       ///< its disk, its processes, its devices: other jobs will fare no better
};

/// How a command ended.
struct Ending {
  int exit_code = 0;                      ///< 128 + N: by signal N; 127: could not be started
  std::optional<double> cpu_seconds = 0;  ///< of all its processes; none: nobody has counted
  double ended = 0;                       ///< boot_seconds(); no later than that, if not counted
  std::string error;  ///< why it could not be started, or its keeper has killed it
  StartFault fault = StartFault::kNone;
};

/// A keeper is a small process between the agent and a run's command, so that a run goes on, and
/// its end is known, when the agent dies. It leads the run's session, takes in whatever the run
/// leaves behind (a subreaper), and holds to the lease: when it has run out it lowers the run to
/// its safe limit, and later ends it, with or without an agent. When the run's joules must be used
/// it is stopped.
///
/// In its folder: `order.json` (read), `keeper.json` and `command.json` (its own id and the
/// command's, once that runs), `log` (what the command prints), `ending.json` (the last thing that
/// is written, when nothing of the run is left).

void write_order(const std::string& folder, const KeeperOrder& order);

/// Starts a keeper, which is `program keep FOLDER`. Throws Error(kIo) if there can be no more
/// processes. At most one keeper ever runs a folder's command, however often this is called.
ProcessId start_keeper(const std::string& program, const std::string& folder);

/// What the keeper does (`wattle-agent keep FOLDER`); returns an exit code.
int keep(const std::string& folder);

std::optional<ProcessId> keeper_of(const std::string& folder);
std::optional<ProcessId> command_of(const std::string& folder);
std::optional<Ending> ending_of(const std::string& folder);

}  // namespace wattle::agent
