#include "scheduler/agent/runs/stopper.h"

#include <fmt/format.h>

#include <algorithm>
#include <csignal>
#include <cstdint>
#include <fstream>

namespace wattle::agent {
namespace {

constexpr double kAgainSeconds = 5;
/// After this the ranks are never going to handle it.
constexpr double kPatienceSeconds = 15;

/// Those below the command: for mpirun and for its daemon, the ranks.
std::vector<ProcessId> ranks_below(const ProcessId& command) { return descendants(command); }

}  // namespace

bool minds(const ProcessId& process, int signal) {
  std::ifstream file(fmt::format("/proc/{}/status", process.pid));
  uint64_t mask = 0;
  for (std::string line; std::getline(file, line);) {
    // SigBlk of a status is the main thread's; the masks are hexadecimal, signal 1 the lowest bit.
    for (const char* key : {"SigBlk:", "SigIgn:", "SigCgt:"}) {
      if (line.starts_with(key)) mask |= std::stoull(line.substr(7), nullptr, 16);
    }
  }
  return (mask >> (signal - 1)) & 1;
}

void Stopper::step(const ProcessId& keeper, const ProcessId& command, bool is_remote,
                   double since_stop) {
  if (since_stop >= grace_seconds_ + kTermSeconds) {
    signal_all(descendants(keeper), SIGKILL);
  } else if (since_stop >= grace_seconds_) {
    if (!has_terminated_) signal_all(descendants(keeper), SIGTERM);
    has_terminated_ = true;
  } else if (signalled_at_ < 0 || since_stop >= signalled_at_ + kAgainSeconds) {
    const std::vector<ProcessId> ranks = ranks_below(command);
    const bool ready = !ranks.empty() && std::all_of(ranks.begin(), ranks.end(), [](const auto& r) {
      return minds(r, SIGUSR1);
    });
    if (!(ready && minds(command, SIGUSR1)) && since_stop < kPatienceSeconds) return;
    signalled_at_ = since_stop;
    if (is_remote) {
      signal_all(ranks, SIGUSR1);
    } else {
      send_signal(command, SIGUSR1);
    }
  }
}

}  // namespace wattle::agent
