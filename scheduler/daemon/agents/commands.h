#pragma once

#include <optional>
#include <string>
#include <vector>

#include "scheduler/core/engine/state.h"
#include "scheduler/rpc/agent.pb.h"
#include "scheduler/store/store.h"

namespace wattle::scheduler {

/// A command and the node that it is for.
struct Addressed {
  std::string node;
  v1::Command command;
};

/// What a start needs besides the decision.
struct LaunchParts {
  std::string request;  ///< tenant and id
  Submission submission;
  std::vector<StoredFile> checkpoint;
  std::string name;
  std::string tenant;
  std::vector<std::string> overrides;  ///< of this point of a sweep
};

/// The commands of a start, one for each node; the first runs mpirun.
std::vector<Addressed> launch_commands(const Start& start, const LaunchParts& parts);

/// Why a registration was not taken, if it was not, and whether it may be taken later.
struct NotTaken {
  std::string why;
  bool is_for_good = false;
};
std::optional<NotTaken> answer_to(const NodeUp& event, const std::vector<Decision>& decisions);

/// The commands of any other decision; none for those that concern no agent.
std::vector<Addressed> commands_of(const Decision& decision);

}  // namespace wattle::scheduler
