// A job for failure_test.cpp: rank 1 ends in the way that the first argument names while the others
// do what the second names. The third is the output folder. With a fourth there is no FailureGuard.
#include <ATen/ops/zeros.h>
#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <stdexcept>
#include <string>
#include <thread>

#include "parallel/communicators/make_communicator.h"
#include "parallel/communicators/mpi/mpi_session.h"
#include "parallel/failure/failure.h"
#include "parallel/reducers/gradient_reducer.h"

namespace wattle {
namespace {

using namespace std::chrono_literals;

/// A file that says when the end began.
void mark(const std::string& folder, const std::string& name) {
  ::close(::open((folder + "/" + name).c_str(), O_CREAT | O_WRONLY, 0644));
}

void end(const std::string& way, const std::string& folder) {
  mark(folder, "end");
  if (way == "throw") throw Error(ErrorCode::kIo, "shard 3 is truncated");
  if (way == "throw_foreign") throw std::out_of_range("index 7");
  if (way == "kill") ::raise(SIGKILL);
  if (way == "crash") ::raise(SIGSEGV);
  if (way == "exit") ::_exit(1);
  if (way == "exit_well") ::_exit(0);
}

void step_forever(Communicator& world) {
  auto reducer = make_gradient_reducer(world, FlatLayout::of({{"w", 1000}}), at::kFloat, {});
  while (true) {
    reducer->begin_step(world.rank(), 1, world.size());
    reducer->finish();
  }
}

void reduce_forever(Communicator& world) {
  at::Tensor tensor = at::zeros({1000});
  while (true) world.all_reduce(tensor, ReduceOp::kSum);
}

void talk_forever() {
  while (true) {
    std::printf("progress\n");
    std::fflush(stdout);
    std::this_thread::sleep_for(1ms);
  }
}

int job(const MpiSession& session, FailureGuard& guard, char** argv) {
  const std::string way = argv[1], work = argv[2];
  guard.set_output_dir(argv[3]);
  if (way == "wrong_config") {
    mark(argv[3], "end");
    throw Error(ErrorCode::kConfig, "run.yaml:2:1: learning: unknown key");
  }
  if (way == "nccl_for_cpu") make_communicator(Backend::kNccl, session);
  auto world = make_communicator(Backend::kAuto, session);
  if (way == "stop") {
    mark(argv[3], "up." + std::to_string(world->rank()));
    while (!guard.stop_requested()) std::this_thread::sleep_for(1ms);
    return kExitStopped;
  }
  world->barrier();
  if (way == "well") return kExitDone;
  std::thread ending;
  if (session.rank() == session.size() - 1 && way.starts_with("throw")) {
    std::this_thread::sleep_for(100ms);
    end(way, argv[3]);
  } else if (session.rank() == session.size() - 1) {
    ending = std::thread([&] {
      std::this_thread::sleep_for(100ms);
      end(way, argv[3]);
    });
  }
  if (work == "shared_memory") step_forever(*world);
  if (work == "collective") reduce_forever(*world);
  if (work == "talk") talk_forever();
  ::pause();
  return kExitDone;
}

/// The waits of shared memory by themselves, with nobody else watching the peers.
int unguarded_job(const MpiSession& session, const std::string& way, const std::string& folder) {
  auto world = session.world();
  try {
    if (session.rank() == session.size() - 1) {
      auto reducer = make_gradient_reducer(*world, FlatLayout::of({{"w", 1000}}), at::kFloat, {});
      end(way, folder);
    }
    step_forever(*world);
  } catch (const Error& error) {
    std::fprintf(stderr, "wattle: rank %d: %s\n", session.rank(), error.what());
  }
  ::_exit(kExitFailed);
}

}  // namespace
}  // namespace wattle

int main(int argc, char** argv) {
  wattle::MpiSession session(argc, argv);
  if (argc > 4) return wattle::unguarded_job(session, argv[1], argv[3]);
  wattle::FailureGuard guard(session);
  return guard.run("train", [&] { return wattle::job(session, guard, argv); });
}
