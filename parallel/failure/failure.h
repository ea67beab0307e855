#pragma once

#include <functional>
#include <memory>
#include <string>

#include "common/error.h"
#include "parallel/communicators/mpi/mpi_session.h"

namespace wattle {

class FailureWatch;

/// Ends the job on every rank when one of them fails, says why once, and receives the signals that
/// ask for a stop. One a process, made after the MpiSession and before other threads.
///
///   int main(int argc, char** argv) {
///     MpiSession session(argc, argv);
///     FailureGuard guard(session);
///     return guard.run("train", [&] { return train(session, guard); });
///   }
///
/// What a failing rank does: it takes the job's one claim to the first cause (a flag in memory that
/// the ranks of a host share, and error.json, which is created exclusively, between hosts), makes
/// its peers on the host silent, prints the cause as Wattle's last line, and aborts the job with
/// the error's exit code. A rank without the claim prints nothing.
///
/// What happens when a rank ends without a word (SIGKILL, out of memory, a crash, exit): a thread
/// of each other rank of its host sleeps on the ranks' pidfds, so that it notices within
/// milliseconds, whatever its own rank waits for: a collective, shared memory, a disk. It claims,
/// prints "rank 1 (process 4711) ended unexpectedly ..." and ends its process. The signal is known
/// to the parent alone: mpirun's own banner names it. Observed of OpenMPI 4.1.4, with and without
/// --oversubscribe: mpirun itself sends SIGTERM to the others about 1 s after a rank died or exited
/// without MPI_Finalize (30 ms after MPI_Abort) and SIGKILL shortly after, and is gone after 2.5 s;
/// its exit code is 128 + signal, the rank's code, or that of MPI_Abort. A rank that was alone on
/// its host leaves no peer to tell its cause: there mpirun's banner is all.
///
/// SIGUSR1, and SIGTERM while no peer is gone and no claim is taken, ask for a stop: the trainer
/// polls stop_requested() between steps and agrees on it over the ranks. (After a SIGTERM to itself
/// mpirun waits 2 s, then kills: use SIGUSR1, which it forwards.)
class FailureGuard {
 public:
  /// Collective. Throws Error(kCommunication) or Error(kIo).
  explicit FailureGuard(const MpiSession& session);
  ~FailureGuard();
  FailureGuard(const FailureGuard&) = delete;
  FailureGuard& operator=(const FailureGuard&) = delete;

  /// From here on failures also stand in `output_dir`/error.json; removes one that is there from an
  /// earlier attempt. Collective. Throws Error(kIo).
  void set_output_dir(const std::string& output_dir);

  /// Runs `body`, which returns an exit code, and returns it when all ranks have returned. If it
  /// throws, the cause is reported as above (by `component`): the job is aborted, or, where it is
  /// one rank alone, the exit code of the error is returned.
  int run(const std::string& component, const std::function<int()>& body);

  /// Whether SIGUSR1 or SIGTERM has come to this rank. Any thread.
  bool stop_requested() const;

 private:
  const MpiSession& session_;
  std::unique_ptr<Communicator> world_;
  std::unique_ptr<FailureWatch> watch_;
};

}  // namespace wattle
