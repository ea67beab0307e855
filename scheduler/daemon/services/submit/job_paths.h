#pragma once

#include <string>
#include <vector>

namespace YAML {
class Node;
}

namespace wattle::scheduler {

/// "" or which text of a job's file may name a place that is not the job's: what looks like an
/// absolute path, or climbs by "..". Absolute paths below one of `shared_paths` are allowed. All
/// jobs of a cluster may run under one account, and the trainer opens what the file names: every
/// text counts, whatever its key, but for prompts.
std::string fault_of_paths(const YAML::Node& root, const std::vector<std::string>& shared_paths);

/// The same of an override a.b=c.
std::string fault_of_override_paths(const std::string& text,
                                    const std::vector<std::string>& shared_paths);

}  // namespace wattle::scheduler
