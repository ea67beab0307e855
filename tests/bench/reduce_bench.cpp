// Measures the sum of gradients over ranks, each way in turn, so that they see the same machine:
//
//   mpirun -np 2 --bind-to core build/bin/wattle_reduce_bench [megabytes] [repetitions]
//
// Prints the median seconds a step of MPI_Allreduce at once, the communicator by buckets, shared
// memory, and the deterministic sums, on rank 0.
#include <ATen/ops/full.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <string>
#include <vector>

#include "parallel/communicators/mpi/mpi_session.h"
#include "parallel/reducers/gradient_reducer.h"
#include "parallel/threads.h"

namespace wattle {
namespace {

struct Way {
  std::string name;
  std::function<void()> step;
  std::vector<double> seconds;
};

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

/// Layout of twelve layers and an embedding, about as a language model has.
FlatLayout layout_of(int64_t numel) {
  std::vector<std::pair<std::string, int64_t>> tensors = {{"embedding", numel / 4}};
  for (int i = 0; i < 48; ++i) tensors.push_back({"layer", numel * 3 / 4 / 48});
  return FlatLayout::of(tensors);
}

Way step_of(Communicator& world, const std::string& name, GradientReducer& reducer) {
  return {name,
          [&] {
            reducer.begin_step(world.rank(), 1, world.size());
            reducer.begin_micro_batch();
            reducer.end_micro_batch();
            reducer.finish();
          },
          {}};
}

void measure(Communicator& world, std::vector<Way>& ways, int repetitions) {
  for (int repetition = -1; repetition < repetitions; ++repetition) {
    for (Way& way : ways) {
      world.barrier();
      const auto start = std::chrono::steady_clock::now();
      way.step();
      world.barrier();
      const std::chrono::duration<double> spent = std::chrono::steady_clock::now() - start;
      if (repetition >= 0) way.seconds.push_back(spent.count());  // the first touches the memory
    }
  }
}

void bench(Communicator& world, int64_t megabytes, int repetitions) {
  const FlatLayout layout = layout_of(megabytes * 1'000'000 / 4);
  at::Tensor whole = at::full({layout.numel}, 1e-30);
  const auto reducer = [&](const ReducerOptions& options) {
    auto made = make_gradient_reducer(world, layout, at::kFloat, options);
    made->gradients().fill_(1e-30);
    return made;
  };
  auto by_bucket = reducer({.share_memory = false});
  auto shared = reducer({});
  auto deterministic = reducer({.deterministic = true});
  std::vector<Way> ways;
  ways.push_back({"MPI_Allreduce at once", [&] { world.all_reduce(whole, ReduceOp::kSum); }, {}});
  ways.push_back(step_of(world, "communicator, by bucket", *by_bucket));
  ways.push_back(step_of(world, "shared memory", *shared));
  ways.push_back(step_of(world, "deterministic", *deterministic));
  measure(world, ways, repetitions);
  if (world.rank() != 0) return;
  std::printf("%d ranks, %lld MB of float32\n", world.size(), static_cast<long long>(megabytes));
  for (const Way& way : ways) {
    std::printf("%-24s %.4f s\n", way.name.c_str(), median(way.seconds));
  }
}

}  // namespace
}  // namespace wattle

int main(int argc, char** argv) {
  wattle::MpiSession session(argc, argv);
  auto world = session.world();
  wattle::set_threads(*world, {});
  wattle::bench(*world, argc > 1 ? std::atoll(argv[1]) : 496, argc > 2 ? std::atoi(argv[2]) : 7);
  return 0;
}
