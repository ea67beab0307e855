#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "launch/wattle/client/client.h"

namespace wattle {

/// Whether a job waits for another that has ended and was not completed: it never runs.
bool is_hopeless(const v1::JobSummary& job);

/// Waits until all the jobs are finished, over restarts of the daemon that are shorter than the
/// client's deadline, or wait for what will never come. `change` is told of every state that is
/// seen, once each. True if all of them are COMPLETED. Throws what client.h throws.
bool wait_until_finished(JobsClient& client, const std::vector<int64_t>& jobs,
                         const std::function<void(const v1::JobSummary&)>& change);

}  // namespace wattle
