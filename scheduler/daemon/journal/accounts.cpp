#include "scheduler/daemon/journal/accounts.h"

#include <fmt/chrono.h>

#include <ctime>

namespace wattle::scheduler {

std::string day_of(double seconds) {
  return fmt::format("{:%Y-%m-%d}", fmt::gmtime(static_cast<std::time_t>(seconds)));
}

std::vector<EnergyTotal> accounts_of(const std::vector<Decision>& decisions, double now_seconds) {
  std::vector<EnergyTotal> totals;
  for (const Decision& decision : decisions) {
    const auto* e = std::get_if<Estimated>(&decision);
    if (!e) continue;
    totals.push_back({e->token, e->job, e->tenant, e->node, kLostNodeSource, e->joules,
                      /*tokens=*/0, day_of(now_seconds)});
  }
  return totals;
}

}  // namespace wattle::scheduler
