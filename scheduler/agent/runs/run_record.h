#pragma once

#include <optional>
#include <string>
#include <vector>

#include "scheduler/agent/files/tails.h"
#include "scheduler/agent/power/run_energy.h"
#include "scheduler/rpc/agent.pb.h"

namespace wattle::agent {

/// Of why a run has ended: it stands in messages, tables and the journal.
inline constexpr size_t kLongestCause = 2000;

/// A daemon that mpirun has asked for on another node.
struct RemoteRequest {
  int64_t number = 0;
  int host = 0;
  std::vector<std::string> argv;
};

/// What an agent must know of a run when it is started again: everything that was promised or done
/// in its name. In the run's folder, `launch.pb` (written once) and `state.json`.
struct RunRecord {
  v1::Launch launch;
  double limit_watts = 0;  ///< per device, in force
  int64_t sequence = 0;    ///< of the newest command that changed it
  bool is_prepared = false;
  std::string stop_reason;  ///< "" = not told to stop
  double stop_began = 0;    ///< boot_seconds()
  bool is_killed = false;   ///< the daemon has said so
  std::optional<double> leased_joules;
  MetricsBegin metrics;
  EnergyRecord energy;
  std::vector<RemoteRequest> remotes;     ///< asked for by this node
  std::optional<int64_t> remote_request;  ///< that this node serves
  std::string remote_from;                ///< the node that asks for it
  std::vector<std::string> remote_argv;
  std::optional<v1::RunExited> exited;  ///< the end, all done but for the daemon's word
};

/// Makes the run's folder and writes both files. Throws Error(kIo); then nothing is left behind.
void create(const std::string& folder, const RunRecord& record);
/// Writes state.json in one step. Throws Error(kIo).
void save(const std::string& folder, const RunRecord& record);
/// Of a record from before the machine was booted, times and readings are dropped. Throws
/// Error(kIo) or Error(kFormat) if the folder holds no run.
RunRecord load(const std::string& folder);

}  // namespace wattle::agent
