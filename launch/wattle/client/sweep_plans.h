#pragma once

#include <string>
#include <vector>

#include "scheduler/rpc/wattle.pb.h"

namespace wattle {

/// Of more points than this, each would cost a process: all count as the file does.
inline constexpr int kMostPlannedPoints = 64;

/// Asks the trainer what is to be expected of the request's file, and of each point of its
/// job.sweep, a few at a time: any key may change the work. A sweep of more points than
/// kMostPlannedPoints gets the file's estimate for all, and a warning that says so. `file`: where
/// the request's YAML lies. `sent`: the places of its inputs in the job's directory.
///
/// Throws as plan_work() does, naming the point; also Error(kConfig) where a run would read what is
/// not sent.
void plan_request(const std::string& file, const std::vector<std::string>& sent,
                  v1::SubmitRequest& request);

}  // namespace wattle
