#pragma once

#include <yaml-cpp/yaml.h>

#include <cstdint>
#include <string>

namespace wattle::scheduler {

/// Parses what a user has sent, and bounds what would have to be built and walked, before it is
/// built: an alias is as large as what it stands for, and may stand for itself. One for all the
/// texts of a request.
class BoundedYaml {
 public:
  BoundedYaml();

  /// The first document; those behind it count, too. Throws YAML::Exception on what is no YAML,
  /// Refusal on more than 32 levels, or on more than 100,000 nodes or 4 MiB in all texts so far.
  /// `what`: "the file".
  YAML::Node parse(const std::string& text, const std::string& what);

 private:
  int64_t left_nodes_;
  int64_t left_bytes_;
};

}  // namespace wattle::scheduler
