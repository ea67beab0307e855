#pragma once

#include <stdexcept>
#include <string>

namespace wattle {

/// What kind of thing went wrong; decides the exit code of a program.
enum class ErrorCode {
  kConfig,         ///< the configuration or the usage is wrong; found before any training
  kIo,             ///< a file or device can't be read or written
  kFormat,         ///< a file's content is not what its format promises
  kCommunication,  ///< a peer is gone or a collective failed
  kNonFinite,      ///< a loss or a gradient is NaN or infinite
  kUnsupported,    ///< asked for something that this machine or build can't honour
  kInternal,       ///< a broken promise of the code itself
};

/// The one exception type of the project. The message names the component, the place (file, line,
/// offset, rank), what was expected and what came.
class Error : public std::runtime_error {
 public:
  Error(ErrorCode code, const std::string& message) : std::runtime_error(message), code_(code) {}
  ErrorCode code() const { return code_; }

 private:
  ErrorCode code_;
};

/// Exit codes of the programs, fixed for other tools.
enum ExitCode : int {
  kExitDone = 0,
  kExitFailed = 1,
  kExitUsage = 2,
  kExitBudgetSpent = 3,
  kExitStopped = 75,
};

/// kConfig ends a program with 2, everything else with 1.
inline int exit_code(ErrorCode code) {
  return code == ErrorCode::kConfig ? kExitUsage : kExitFailed;
}

}  // namespace wattle
