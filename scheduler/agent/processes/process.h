#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace wattle::agent {

/// A process that may outlive the one that started it. Its start time tells it from a later process
/// that was given the same number.
struct ProcessId {
  int pid = 0;
  uint64_t start_ticks = 0;  ///< since the machine booted, field 22 of proc(5)'s stat
  bool operator==(const ProcessId&) const = default;
};

/// The process with this number, if it runs (one that has ended and waits for its parent does not).
std::optional<ProcessId> find_process(int pid);

bool is_running(const ProcessId& process);

/// Sends a signal through a pidfd, so that it can never reach a later process. False if the process
/// has ended. Throws Error(kIo) if the system refuses.
bool send_signal(const ProcessId& process, int signal);

/// The same to each of them.
void signal_all(const std::vector<ProcessId>& processes, int signal);

/// All that run below `ancestor`, nearest first; none if that has ended and its number is
/// another's.
std::vector<ProcessId> descendants(const ProcessId& ancestor);
/// Of this process.
std::vector<ProcessId> own_descendants();

/// All processes that were started with `variable` in their environment, as far as this process may
/// see that, and its value there.
std::vector<std::pair<ProcessId, std::string>> started_with(const std::string& variable);

/// Seconds since the machine booted, sleep included (CLOCK_BOOTTIME): the same clock in every
/// process, also after this one was started again.
double boot_seconds();

/// Different after every boot.
const std::string& boot_id();

}  // namespace wattle::agent
