#pragma once

#include "scheduler/core/assign/problem.h"
#include "scheduler/core/policy/policy.h"

namespace wattle::scheduler {

/// Limits before ranks before runs: a run keeps its ranks where lower limits of others leave it the
/// watts, and is not stopped where lower limits and fewer ranks of others do. By values alone, the
/// narrow would rather be stopped than the wide shrunk. Only watts are moved: where another job has
/// got its devices, a run has lost them. What the others lose for the watts is as little as can be,
/// and of several runs the more valuable ones are kept first.
void keep_runs(const Snapshot& snapshot, const Problem& problem, Assignment& assignment);

}  // namespace wattle::scheduler
