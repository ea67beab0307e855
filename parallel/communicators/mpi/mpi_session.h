#pragma once

#include <memory>

#include "parallel/communicator.h"

namespace wattle {

/// Blocks SIGUSR1 in this and all later threads: one that comes before the job is up is kept until
/// FailureGuard receives it, rather than ending the process. First thing in main.
void hold_stop_requests();

/// MPI from its start to its end; made once, first thing in main, before any other thread.
///
/// Blocks SIGTERM and SIGUSR1 in this and all later threads: FailureGuard receives them. Asks for
/// MPI_THREAD_SERIALIZED: any thread may communicate, one at a time. Errors of MPI come back as
/// Error(kCommunication). A program that was not started by mpirun is one rank.
class MpiSession {
 public:
  /// Throws Error(kCommunication) if MPI does not start.
  MpiSession(int& argc, char**& argv);
  /// Collective: finalises MPI, unless an exception is on its way through (the peers would be
  /// waited for in vain; mpirun then ends the job).
  ~MpiSession();
  MpiSession(const MpiSession&) = delete;
  MpiSession& operator=(const MpiSession&) = delete;

  int rank() const { return rank_; }
  int size() const { return size_; }

  /// All ranks, over MPI, on a communicator of its own. Collective. Must not outlive the session.
  std::unique_ptr<Communicator> world() const;

  /// Ends every rank of the job with this exit code. Not collective.
  [[noreturn]] void abort(int exit_code) const;

 private:
  int rank_ = 0;
  int size_ = 1;
  int exceptions_at_start_ = 0;
};

}  // namespace wattle
