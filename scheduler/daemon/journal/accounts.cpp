#include "scheduler/daemon/journal/accounts.h"

#include "common/text.h"

namespace wattle::scheduler {

std::vector<EnergyTotal> accounts_of(const std::vector<Decision>& decisions, double now_seconds) {
  std::vector<EnergyTotal> totals;
  for (const Decision& decision : decisions) {
    const auto* e = std::get_if<Estimated>(&decision);
    if (!e) continue;
    totals.push_back({e->token, e->job, e->tenant, e->node, kLostNodeSource, e->joules,
                      /*tokens=*/0, day_text(now_seconds)});
  }
  return totals;
}

}  // namespace wattle::scheduler
