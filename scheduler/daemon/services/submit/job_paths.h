#pragma once

#include <string>
#include <vector>

#include "scheduler/daemon/services/submit/bounded_yaml.h"

namespace wattle::scheduler {

/// Which text of a job's file may name a place that is not the job's: what looks like an absolute
/// path, or climbs by "..". Absolute paths below one of `shared_paths` are allowed. All jobs of a
/// cluster may run under one account, and the trainer opens what the file names: every text counts,
/// whatever its key, but for prompts.
class JobPaths {
 public:
  /// Both must outlive it; `yaml` has parsed the file.
  JobPaths(BoundedYaml& yaml, const std::vector<std::string>& shared_paths);

  /// "" or what is wrong. Throw Refusal as BoundedYaml does.
  std::string fault_of_file(const YAML::Node& root);
  std::string fault_of_override(const std::string& text);  ///< a.b=c

 private:
  std::string walk(const YAML::Node& node, const std::string& place);
  std::string fault_of_yaml(const std::string& text, const std::string& place);
  std::string fault_of_text(const std::string& text, const std::string& place) const;

  BoundedYaml& yaml_;
  const std::vector<std::string>& shared_paths_;
};

}  // namespace wattle::scheduler
