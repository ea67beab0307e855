#pragma once

#include "scheduler/core/engine/state.h"

namespace wattle::scheduler {

/// What a job's progress is worth: the tenant's weight, doubled by every 10 points of priority (at
/// most a thousandfold), growing with the time it waits for its turn (twice after aging_seconds,
/// three times after two of them), and up to nine times as its deadline comes so near that it needs
/// all its speed. A deadline that can't be met any more counts no more.
///
/// Of a user's job all that together lifts it no further than the highest priority that the user
/// may give, for nobody shall go over others by a deadline or by many waiting jobs as he may not by
/// a priority; but twice as far after a day of waiting, three times after two, without end: nothing
/// starves.
double weight_of(const State& state, const Job& job, const Options& options, double now_seconds);

}  // namespace wattle::scheduler
