// A round of decisions over 10,000 nodes of 8 devices with 20,000 waiting jobs: the whole of a tick
// of the core, from the snapshot to the start decisions, on an empty cluster, and again on the full
// one with a cap that has just fallen.
//
//   wattle_decision_round [nodes] [jobs] [policy]
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <functional>

#include "scheduler/core/core.h"
#include "scheduler/core/engine/state.h"

namespace wattle::scheduler {
namespace {

double seconds_of(const std::function<void()>& work) {
  const auto begin = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

size_t starts(const std::vector<Decision>& decisions) {
  return std::count_if(decisions.begin(), decisions.end(),
                       [](const Decision& d) { return std::holds_alternative<Start>(d); });
}

Submit job(int number) {
  Submit submit;
  submit.request_id = fmt::format("r{}", number);
  submit.name = fmt::format("job{}", number);
  submit.spec.tenant = fmt::format("team{}", number % 10);
  submit.spec.priority = number % 7;
  submit.spec.ranks = {1 + number % 3, 1 << (number % 5)};
  if (submit.spec.ranks.max < submit.spec.ranks.min) submit.spec.ranks.max = submit.spec.ranks.min;
  submit.work.units = 1000 + number % 977;
  submit.work.units_per_second = 0.5 + number % 13;
  submit.work.kind = number % 2 ? fmt::format("kind{}", number % 400) : "";
  return submit;
}

void measure(const std::string& policy, int nodes, int jobs) {
  CoreOptions options;
  options.policy.name = policy;
  options.cap_watts = nodes * 8 * 150.0;
  Core core(options);
  double now = 1000;
  for (int n = 0; n < nodes; ++n) {
    const DeviceType type =
        n % 3 ? DeviceType{"V100", 25, 100, 250} : DeviceType{"A100", 50, 150, 400};
    core.apply({now, NodeUp{fmt::format("n{}", n), 1, {{type, 8, 60}}, {}}});
  }
  const double submit_seconds = seconds_of([&] {
    for (int j = 0; j < jobs; ++j) core.apply({now, job(j)});
  });
  size_t first_starts = 0;
  const double first = seconds_of([&] { first_starts = starts(core.apply({++now, Tick{}})); });
  for (int j = jobs; j < 2 * jobs; ++j) core.apply({now, job(j)});
  size_t second_starts = 0;
  const double second = seconds_of([&] {
    second_starts = starts(core.apply({now += 60, Tick{}}));
  });
  size_t decisions = 0;
  const double lowered = seconds_of([&] {
    const double watts = nodes * 8 * 120.0;
    decisions = core.apply({++now, CapSet{"cap", watts, CapTier::kHard, {}, {}}}).size();
  });
  fmt::print(
      "{:>9}: submit {:.1f} us; empty cluster {:.3f} s ({} starts); {} more waiting {:.3f} s "
      "({} starts); cap lowered {:.3f} s ({} decisions); {} running, {} waiting\n",
      policy, 1e6 * submit_seconds / jobs, first, first_starts, jobs, second, second_starts,
      lowered, decisions, core.state().running.size(), core.state().waiting.size());
}

}  // namespace
}  // namespace wattle::scheduler

int main(int argc, char** argv) {
  const int nodes = argc > 1 ? std::stoi(argv[1]) : 10000;
  const int jobs = argc > 2 ? std::stoi(argv[2]) : 20000;
  for (const std::string policy : {"fifo", "backfill", "energy"}) {
    if (argc > 3 && policy != argv[3]) continue;
    wattle::scheduler::measure(policy, nodes, jobs);
  }
}
