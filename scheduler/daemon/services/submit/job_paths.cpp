#include "scheduler/daemon/services/submit/job_paths.h"

#include <fmt/format.h>
#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <filesystem>

namespace wattle::scheduler {
namespace {

namespace fs = std::filesystem;

bool is_free_text(const std::string& key) { return key == "prompt" || key.ends_with(".prompt"); }

bool is_below(const fs::path& path, const fs::path& folder) {
  const fs::path rest = path.lexically_relative(folder);
  return !rest.empty() && *rest.begin() != "..";
}

std::string fault_of(const std::string& text, const std::vector<std::string>& shared_paths) {
  const fs::path path = text;
  const bool climbs = std::find(path.begin(), path.end(), "..") != path.end();
  if (!climbs && !path.is_absolute()) return "";
  const bool is_shared =
      !climbs && std::any_of(shared_paths.begin(), shared_paths.end(),
                             [&](const std::string& folder) { return is_below(path, folder); });
  if (is_shared) return "";
  return fmt::format(
      "'{}' leaves the job's directory; expected a relative path{}: send what the job needs with "
      "--input",
      text.substr(0, 200),
      shared_paths.empty() ? "" : fmt::format(", or one below {}", fmt::join(shared_paths, ", ")));
}

std::string walk(const YAML::Node& node, const std::string& place,
                 const std::vector<std::string>& shared_paths) {
  if (node.IsScalar()) {
    const std::string fault = fault_of(node.Scalar(), shared_paths);
    return fault.empty() ? "" : fmt::format("{}: {}", place, fault);
  }
  size_t index = 0;
  for (const auto& child : node) {
    std::string fault;
    if (node.IsMap()) {
      const std::string key = child.first.IsScalar() ? child.first.Scalar() : "?";
      if (is_free_text(key)) continue;
      fault = walk(child.second, place.empty() ? key : place + "." + key, shared_paths);
    } else {
      fault = walk(child, fmt::format("{}.{}", place, index++), shared_paths);
    }
    if (!fault.empty()) return fault;
  }
  return "";
}

}  // namespace

std::string fault_of_paths(const YAML::Node& root, const std::vector<std::string>& shared_paths) {
  return walk(root, "", shared_paths);
}

std::string fault_of_override_paths(const std::string& text,
                                    const std::vector<std::string>& shared_paths) {
  const size_t equals = text.find('=');
  if (equals == std::string::npos) return "";
  const std::string key = text.substr(0, equals);
  if (is_free_text(key)) return "";
  try {
    return walk(YAML::Load(text.substr(equals + 1)), key, shared_paths);
  } catch (const YAML::Exception&) {
    const std::string fault = fault_of(text.substr(equals + 1), shared_paths);
    return fault.empty() ? "" : fmt::format("{}: {}", key, fault);
  }
}

}  // namespace wattle::scheduler
