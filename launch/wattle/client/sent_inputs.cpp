#include "launch/wattle/client/sent_inputs.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>

#include "common/error.h"
#include "common/paths.h"

namespace wattle {
namespace {

namespace fs = std::filesystem;

/// What to say to `submit`.
std::string option_for(const std::string& path) {
  const fs::path normal = fs::path(path).lexically_normal();
  if (*normal.begin() == "..") {
    const std::string name = normal.filename().string();
    return fmt::format("send it with --input {}={} and name it {}", path, name, name);
  }
  std::error_code unknown;
  if (fs::is_directory(path, unknown)) {
    return fmt::format("send what it holds with --input {} for each file",
                       (normal / "FILE").string());
  }
  return fmt::format("send it with --input {}", path);
}

bool is_sent(const std::string& path, const std::vector<std::string>& sent) {
  return std::ranges::any_of(sent, [&](const std::string& place) { return is_below(place, path); });
}

}  // namespace

void require_sent(const std::vector<PlannedInput>& named, const std::vector<std::string>& sent) {
  std::string lines;
  for (const PlannedInput& input : named) {
    if (fs::path(input.path).is_absolute() || is_sent(input.path, sent)) continue;
    lines += fmt::format(
        "{}{}: {}: '{}' is not sent with the job, whose directory on a node has nothing else: {}, "
        "or name an absolute path on storage that the nodes share",
        lines.empty() ? "" : "\n", input.place, input.key, input.path, option_for(input.path));
  }
  if (!lines.empty()) throw Error(ErrorCode::kConfig, lines);
}

}  // namespace wattle
