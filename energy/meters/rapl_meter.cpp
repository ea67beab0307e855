#include "energy/meters/rapl_meter.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <filesystem>
#include <optional>

#include "common/error.h"

namespace wattle {
namespace {

constexpr char kPowercap[] = "sys/class/powercap";
constexpr char kZonePrefix[] = "intel-rapl:";  // AMD's zones too; "intel-rapl-mmio:" repeats them
constexpr double kMostWattsOfAZone = 5000;
constexpr double kStuckAfterSeconds = 5;

/// A small file of sysfs as text, opened anew so that a zone that went away is noticed.
std::string read_text(const std::filesystem::path& path) {
  const int file = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (file < 0) {
    const int error = errno;
    if (error == EACCES || error == EPERM) {
      throw Error(ErrorCode::kUnsupported,
                  fmt::format("{}: permission denied; since Linux 5.10 only root reads it "
                              "(CVE-2020-8694): run as root, or let the operator allow it with "
                              "chmod a+r on the energy_uj files (a udev rule keeps that)",
                              path.string()));
    }
    throw Error(ErrorCode::kIo,
                fmt::format("{}: can't be read: {}", path.string(), std::strerror(error)));
  }
  std::array<char, 64> text{};
  const ssize_t count = read(file, text.data(), text.size());
  const int error = errno;
  close(file);
  if (count < 0) {
    throw Error(ErrorCode::kIo,
                fmt::format("{}: can't be read: {}", path.string(), std::strerror(error)));
  }
  std::string read_back(text.data(), static_cast<size_t>(count));
  while (!read_back.empty() && read_back.back() == '\n') read_back.pop_back();
  return read_back;
}

double read_microjoules(const std::filesystem::path& path) {
  const std::string text = read_text(path);
  uint64_t microjoules = 0;
  const auto [stopped, error] =
      std::from_chars(text.data(), text.data() + text.size(), microjoules);
  if (error != std::errc() || stopped != text.data() + text.size()) {
    throw Error(ErrorCode::kIo,
                fmt::format("{}: expected a count of microjoules, got '{}'", path.string(), text));
  }
  return static_cast<double>(microjoules);
}

class RaplMeter final : public Meter {
 public:
  RaplMeter(const std::filesystem::path& zone, const std::string& name)
      : energy_(zone / "energy_uj") {
    const std::string number = zone.filename().string().substr(std::strlen(kZonePrefix));
    info_.device = fmt::format("rapl:{}/{}", number, name);
    info_.source = Source::kMeasuredRapl;
    info_.wraps_at_joules = read_microjoules(zone / "max_energy_range_uj") * 1e-6;
    info_.plausible_watts = kMostWattsOfAZone;
    info_.stuck_after_seconds = kStuckAfterSeconds;
    read();  // a counter that may not be read is known now
  }
  const MeterInfo& info() const override { return info_; }
  double read() override { return read_microjoules(energy_) * 1e-6; }

 private:
  std::filesystem::path energy_;
  MeterInfo info_;
};

struct Zone {
  std::filesystem::path path;
  std::string name;  // "package-0", "dram", "psys", "core", ...
};

std::vector<Zone> zones_below(const std::filesystem::path& powercap) {
  std::vector<Zone> zones;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(powercap, error)) {
    if (!entry.path().filename().string().starts_with(kZonePrefix)) continue;
    zones.push_back({entry.path(), read_text(entry.path() / "name")});
  }
  std::ranges::sort(zones, {}, [](const Zone& zone) { return zone.path.string(); });
  return zones;
}

}  // namespace

std::vector<std::unique_ptr<Meter>> rapl_meters(const std::string& root) {
  const std::filesystem::path powercap = std::filesystem::path(root) / kPowercap;
  const std::vector<Zone> zones = zones_below(powercap);
  const bool has_psys =
      std::ranges::any_of(zones, [](const Zone& zone) { return zone.name == "psys"; });
  std::vector<std::unique_ptr<Meter>> meters;
  for (const Zone& zone : zones) {
    const bool is_counted =
        has_psys ? zone.name == "psys" : zone.name.starts_with("package") || zone.name == "dram";
    if (is_counted) meters.push_back(std::make_unique<RaplMeter>(zone.path, zone.name));
  }
  if (meters.empty()) {
    throw Error(ErrorCode::kUnsupported,
                fmt::format("no package, dram or psys zone below {} (a virtual machine, or no "
                            "intel_rapl driver)",
                            powercap.string()));
  }
  return meters;
}

}  // namespace wattle
