// A round of decisions over 10,000 nodes of 8 devices with 20,000 waiting jobs, from the
// request of a plan to the start decisions: on an empty cluster, on the full one when all that wait
// have done so for an hour, and on that with a cap that has just fallen. With `spread` watts, no
// two nodes' devices draw the same when idle, as meters find it: up to so much more than their
// type's least.
//
//   wattle_decision_round [nodes] [jobs] [policy | all] [spread]
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <functional>

#include "scheduler/core/core.h"
#include "scheduler/core/engine/state.h"
#include "scheduler/core/planning.h"

namespace wattle::scheduler {
namespace {

double seconds_of(const std::function<void()>& work) {
  const auto begin = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

/// A whole round: what is asked of the core and applied to it holds it, the plan itself does not.
struct Round {
  double ask_seconds = 0, plan_seconds = 0, apply_seconds = 0;
  std::vector<Decision> decisions;
  double seconds() const { return ask_seconds + plan_seconds + apply_seconds; }
};

std::string text_of(const Round& round) {
  return fmt::format("{:.3f} s, of which the core is held {:.3f} to ask and {:.3f} to apply",
                     round.seconds(), round.ask_seconds, round.apply_seconds);
}

Round run_round(Core& core, double now) {
  Round round;
  PlanRequest request;
  Planned plan;
  round.ask_seconds = seconds_of([&] { request = core.request_plan(now); });
  round.plan_seconds = seconds_of([&] { plan = make_plan(request); });
  round.apply_seconds = seconds_of([&] { round.decisions = core.apply({now, std::move(plan)}); });
  return round;
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

void measure(const std::string& policy, int nodes, int jobs, double spread_watts) {
  CoreOptions options;
  options.policy.name = policy;
  options.cap_watts = nodes * 8 * 150.0;
  Core core(options);
  double now = 1000;
  for (int n = 0; n < nodes; ++n) {
    DeviceType type = n % 3 ? DeviceType{"V100", 25, 100, 250} : DeviceType{"A100", 50, 150, 400};
    type.idle_watts += std::round(1e3 * spread_watts * n / nodes) / 1e3;  // whole milliwatts
    core.apply({now, NodeUp{fmt::format("n{}", n), 1, {{type, 8, 60}}, {}, true}});
  }
  const double submit_seconds = seconds_of([&] {
    for (int j = 0; j < jobs; ++j) core.apply({now, job(j)});
  });
  const Round first = run_round(core, ++now);
  for (int j = jobs; j < 2 * jobs; ++j) core.apply({now, job(j)});
  const Round second = run_round(core, now += 3600);
  core.apply({++now, CapSet{"cap", nodes * 8 * 120.0, CapTier::kHard, {}, {}}});
  const Round lowered = run_round(core, now);
  fmt::print(
      "{:>9}: submit {:.1f} us; empty cluster {} ({} starts); {} more waiting {} ({} starts); cap "
      "lowered {} ({} decisions); {} running, {} waiting; {} device types\n",
      policy, 1e6 * submit_seconds / jobs, text_of(first), starts(first.decisions), jobs,
      text_of(second), starts(second.decisions), text_of(lowered), lowered.decisions.size(),
      core.state().running.size(), core.state().waiting.size(), core.state().types.size());
}

}  // namespace
}  // namespace wattle::scheduler

int main(int argc, char** argv) {
  const int nodes = argc > 1 ? std::stoi(argv[1]) : 10000;
  const int jobs = argc > 2 ? std::stoi(argv[2]) : 20000;
  for (const std::string policy : {"fifo", "backfill", "energy"}) {
    if (argc > 3 && policy != argv[3] && std::string(argv[3]) != "all") continue;
    wattle::scheduler::measure(policy, nodes, jobs, argc > 4 ? std::stod(argv[4]) : 0);
  }
}
