#include "scheduler/core/policy/policy.h"

#include <fmt/format.h>

#include "common/error.h"
#include "scheduler/core/policy/policies.h"

namespace wattle::scheduler {

std::unique_ptr<Policy> make_policy(const PolicyOptions& options) {
  if (!(options.eta >= 0 && options.eta <= 1)) {
    throw Error(ErrorCode::kConfig,
                fmt::format("policy.eta: expected between 0 and 1, got {}", options.eta));
  }
  if (options.name == "fifo") return std::make_unique<FifoPolicy>();
  if (options.name == "backfill") return std::make_unique<BackfillPolicy>();
  if (options.name == "energy") return std::make_unique<EnergyPolicy>(options.eta);
  throw Error(
      ErrorCode::kConfig,
      fmt::format("policy.name: expected fifo, backfill or energy, got '{}'", options.name));
}

}  // namespace wattle::scheduler
