#include "scheduler/daemon/journal/rounds.h"

#include <algorithm>
#include <chrono>

namespace wattle::scheduler {
namespace {

constexpr double kLeastRestSeconds = 0.05, kMostRestSeconds = 0.5;

}  // namespace

double run_round(JournalledCore& core) {
  // While the journal stands still, ticks and plans would only pile up.
  if (!core.store_fault().empty()) return kMostRestSeconds;
  core.tick();
  const auto request = core.plan_request();
  if (!request) return kLeastRestSeconds;
  const auto begin = std::chrono::steady_clock::now();
  for (Planned& part : parts_of(make_plan(*request))) {
    core.settle();
    core.post(std::move(part));
  }
  const std::chrono::duration<double> taken = std::chrono::steady_clock::now() - begin;
  return std::clamp(taken.count(), kLeastRestSeconds, kMostRestSeconds);
}

}  // namespace wattle::scheduler
