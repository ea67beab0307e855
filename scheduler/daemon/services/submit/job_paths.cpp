#include "scheduler/daemon/services/submit/job_paths.h"

#include <fmt/format.h>
#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <filesystem>

#include "common/paths.h"
#include "common/text.h"

namespace wattle::scheduler {
namespace {

namespace fs = std::filesystem;

bool is_free_text(const std::string& key) { return key == "prompt" || key.ends_with(".prompt"); }

std::string fault_of(const std::string& text, const std::vector<std::string>& shared_paths) {
  const fs::path path = text;
  const bool climbs = std::find(path.begin(), path.end(), "..") != path.end();
  if (!climbs && !path.is_absolute()) return "";
  const bool is_shared =
      !climbs && std::any_of(shared_paths.begin(), shared_paths.end(),
                             [&](const std::string& folder) { return is_below(text, folder); });
  if (is_shared) return "";
  return fmt::format(
      "'{}' leaves the job's directory; expected a relative path{}: send what the job needs with "
      "--input",
      text.substr(0, 200),
      shared_paths.empty() ? "" : fmt::format(", or one below {}", fmt::join(shared_paths, ", ")));
}

}  // namespace

JobPaths::JobPaths(BoundedYaml& yaml, const std::vector<std::string>& shared_paths)
    : yaml_(yaml), shared_paths_(shared_paths) {}

std::string JobPaths::fault_of_file(const YAML::Node& root) { return walk(root, ""); }

std::string JobPaths::fault_of_override(const std::string& text) {
  const size_t equals = text.find('=');
  if (equals == std::string::npos) return "";
  return fault_of_yaml(text.substr(equals + 1), text.substr(0, equals));
}

std::string JobPaths::fault_of_text(const std::string& text, const std::string& place) const {
  const std::string fault = fault_of(text, shared_paths_);
  return fault.empty() ? "" : fmt::format("{}: {}", place, fault);
}

std::string JobPaths::fault_of_yaml(const std::string& text, const std::string& place) {
  try {
    const YAML::Node node = yaml_.parse(text, fmt::format("'{}'", brief(place)));
    return is_free_text(place) ? "" : walk(node, place);
  } catch (const YAML::Exception&) {
    return is_free_text(place) ? "" : fault_of_text(text, place);
  }
}

std::string JobPaths::walk(const YAML::Node& node, const std::string& place) {
  if (node.IsScalar()) return fault_of_text(node.Scalar(), place);
  size_t index = 0;
  for (const auto& child : node) {
    std::string fault;
    if (node.IsMap()) {
      const std::string key = child.first.IsScalar() ? child.first.Scalar() : "?";
      if (is_free_text(key)) continue;
      fault = walk(child.second, place.empty() ? key : place + "." + key);
    } else {
      fault = walk(child, fmt::format("{}.{}", place, index++));
    }
    if (!fault.empty()) return fault;
  }
  return "";
}

}  // namespace wattle::scheduler
