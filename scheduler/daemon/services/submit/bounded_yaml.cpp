#include "scheduler/daemon/services/submit/bounded_yaml.h"

#include <fmt/format.h>

#include "scheduler/daemon/services/calls/caller.h"

namespace wattle::scheduler {
namespace {

constexpr int kMostDepth = 32;

}  // namespace

YAML::Node BoundedYaml::parse(const std::string& text, const std::string& what) {
  YAML::Node root = YAML::Load(text);  // its parser ends at 500 levels by itself
  measure(root, what, 0);
  return root;
}

void BoundedYaml::measure(const YAML::Node& node, const std::string& what, int depth) {
  if (depth > kMostDepth) {
    throw Refusal(RefusalCode::kInvalid,
                  fmt::format("{} is nested deeper than {}", what, kMostDepth));
  }
  if (--left_ < 0) {
    throw Refusal(RefusalCode::kInvalid,
                  fmt::format("{} has too many nodes: 100000 are taken with each request, aliases "
                              "counted each time",
                              what));
  }
  for (const auto& child : node) {
    if (node.IsMap()) {
      measure(child.first, what, depth + 1);
      measure(child.second, what, depth + 1);
    } else {
      measure(child, what, depth + 1);
    }
  }
}

}  // namespace wattle::scheduler
