#include "common/paths.h"

#include <filesystem>

namespace wattle {

bool is_below(const std::string& path, const std::string& folder) {
  const auto below = std::filesystem::path(path).lexically_normal();
  const auto above = std::filesystem::path(folder).lexically_normal();
  if (below.empty() || above.empty() || *above.begin() == "..") return false;
  const std::filesystem::path rest = below.lexically_relative(above);
  return !rest.empty() && *rest.begin() != "..";
}

}  // namespace wattle
