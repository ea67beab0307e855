#pragma once

#include "scheduler/config/cluster_options.h"
#include "scheduler/core/journal/event.h"
#include "scheduler/rpc/identity.h"
#include "scheduler/rpc/wattle.pb.h"
#include "scheduler/store/store.h"

namespace wattle::scheduler {

/// A request to submit, checked: the core's event, and what is kept beside it.
struct CheckedSubmission {
  Submit event;
  Submission kept;
};

/// Reads `job:` and `run:` of the file with the overrides, and checks the request: sizes, paths
/// that would leave the job's directory, names, the tenant, the priority for the caller's role.
/// Everything is in the caller's tenant unless an operator says otherwise.
///
/// The file is measured before it is read: more than 1 MiB, 32 levels or 100,000 nodes, aliases
/// counted each time, are refused. Throws Refusal, and Error(kConfig) with a line for each mistake.
CheckedSubmission check_submission(const v1::SubmitRequest& request, const Identity& caller,
                                   const ClusterOptions& options);

}  // namespace wattle::scheduler
