#define OMPI_SKIP_MPICXX
#include "parallel/communicators/mpi/mpi_session.h"

#include <mpi.h>
#include <pthread.h>
#include <signal.h>

#include <cstdlib>
#include <exception>
#include <initializer_list>

#include "parallel/communicators/mpi/mpi_communicator.h"
#include "parallel/communicators/mpi/mpi_status.h"

namespace wattle {
namespace {

void block(std::initializer_list<int> signals) {
  sigset_t set;
  sigemptyset(&set);
  for (const int signal : signals) sigaddset(&set, signal);
  if (pthread_sigmask(SIG_BLOCK, &set, nullptr) != 0) {
    throw Error(ErrorCode::kInternal, "signals of the job: they can't be blocked");
  }
}

}  // namespace

void hold_stop_requests() { block({SIGUSR1}); }

MpiSession::MpiSession(int& argc, char**& argv) : exceptions_at_start_(std::uncaught_exceptions()) {
  block({SIGTERM, SIGUSR1});
  int provided = MPI_THREAD_SINGLE;
  check_mpi(MPI_Init_thread(&argc, &argv, MPI_THREAD_SERIALIZED, &provided), "MPI_Init_thread");
  if (provided < MPI_THREAD_SERIALIZED) {
    throw Error(ErrorCode::kCommunication,
                "MPI session: expected MPI_THREAD_SERIALIZED, got " + std::to_string(provided));
  }
  check_mpi(MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN), "MPI_Comm_set_errhandler");
  check_mpi(MPI_Comm_set_errhandler(MPI_COMM_SELF, MPI_ERRORS_RETURN), "MPI_Comm_set_errhandler");
  check_mpi(MPI_Comm_rank(MPI_COMM_WORLD, &rank_), "MPI_Comm_rank");
  check_mpi(MPI_Comm_size(MPI_COMM_WORLD, &size_), "MPI_Comm_size");
}

MpiSession::~MpiSession() {
  if (std::uncaught_exceptions() > exceptions_at_start_) return;
  // Nothing is left to report to: mpirun says so itself if its ranks do not finalise.
  static_cast<void>(MPI_Finalize());
}

std::unique_ptr<Communicator> MpiSession::world() const { return make_mpi_world(); }

void MpiSession::abort(int exit_code) const {
  static_cast<void>(MPI_Abort(MPI_COMM_WORLD, exit_code));
  std::_Exit(exit_code);
}

}  // namespace wattle
