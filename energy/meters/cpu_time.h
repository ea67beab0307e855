#pragma once

#include <string>

namespace wattle {

/// Processor time that all threads of this process have used since it began, in seconds.
/// Throws Error(kIo) if the system has no such clock.
double process_cpu_seconds();

/// Processor time of process `pid` and all that descend from it, the ended ones that were waited
/// for included, in seconds; resolved to the kernel's tick (10 ms). 0 if there is no such process.
/// `proc` is the folder of the proc file system, "/proc" but in tests.
double tree_cpu_seconds(int pid, const std::string& proc = "/proc");

}  // namespace wattle
