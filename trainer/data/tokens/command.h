#pragma once

#include <string>
#include <vector>

namespace wattle {

struct CommandResult {
  int exit_code = 0;   ///< 128 + the signal for a program that a signal ended
  std::string output;  ///< standard output and error together
};

/// Runs a program (looked up in PATH) with its arguments, without a shell, and waits for it.
/// Throws Error(kUnsupported) naming it if it can't be started.
CommandResult run_command(const std::vector<std::string>& command);

}  // namespace wattle
