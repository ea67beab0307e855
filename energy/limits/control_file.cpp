#include "energy/limits/control_file.h"

#include <fmt/format.h>
#include <sys/stat.h>

#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>
#include <utility>

#include "common/error.h"

namespace wattle {
namespace {

constexpr long long kMostBytes = 1 << 16;

Control control_of(const nlohmann::json& json, const std::string& path) {
  const auto fail = [&path](const std::string& what) {
    throw Error(ErrorCode::kFormat, fmt::format("{}: {}", path, what));
  };
  if (!json.is_object()) fail("expected {\"power_cap_watts\": number}");
  for (const auto& [key, value] : json.items()) {
    if (key != "power_cap_watts") {
      fail(fmt::format("unknown key '{}' (there is power_cap_watts)", key));
    }
  }
  const auto cap = json.find("power_cap_watts");
  if (cap == json.end()) fail("expected the key power_cap_watts");
  if (cap->is_null()) return {};
  if (!cap->is_number() || !std::isfinite(cap->get<double>()) || cap->get<double>() <= 0) {
    fail(fmt::format("power_cap_watts: expected more than 0 or null, got {}", cap->dump()));
  }
  return {cap->get<double>()};
}

}  // namespace

ControlFile::ControlFile(std::string path) : path_(std::move(path)) {}

/// Counts how often this version was found half written; the next poll looks again.
void ControlFile::wait_for_writer(const Version& version) {
  if (!(version == unreadable_)) unreadable_polls_ = 0;
  unreadable_ = version;
  if (++unreadable_polls_ != kPollsToFinish) return;
  seen_ = version;
  throw Error(ErrorCode::kFormat, path_ + ": is cut off, or no JSON");
}

std::optional<Control> ControlFile::poll() {
  struct stat status {};
  if (stat(path_.c_str(), &status) != 0 || status.st_size > kMostBytes) return std::nullopt;
  const Version version{status.st_mtim, status.st_size, status.st_ino};
  if (version == seen_) return std::nullopt;
  std::ifstream file(path_, std::ios::binary);
  std::stringstream text;
  if (!file || !(text << file.rdbuf())) return std::nullopt;
  const nlohmann::json json =
      nlohmann::json::parse(text.str(), nullptr, /*allow_exceptions=*/false);
  if (json.is_discarded()) {
    wait_for_writer(version);
    return std::nullopt;
  }
  seen_ = version;
  if (std::exchange(text_, text.str()) == text.str()) return std::nullopt;
  return control_of(json, path_);
}

}  // namespace wattle
