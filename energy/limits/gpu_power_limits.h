#pragma once

#include <memory>
#include <string>
#include <vector>

#include "energy/meters/nvml/nvml.h"

namespace wattle {

/// Where limits that are in force are noted, one file a GPU, so that they outlive a crash.
/// Only root sets limits, and only root can write below /run.
inline constexpr char kLimitJournal[] = "/run/wattle/power-limits";

/// Gives GPUs power limits, and gives them back the limits they had.
///
/// The limit a GPU had is noted in `journal` before another is set, and restored by the destructor,
/// by restore() and, after a crash, by the guardian process or by the next program that calls
/// restore_left_limits() or constructs this class. A limit that somebody else has changed in the
/// meantime is left as it is.
class GpuPowerLimits {
 public:
  /// Takes over `devices`; first restores what dead processes left. `guardian`: a command that is
  /// started with a pipe as its standard input, which closes when this process ends however it
  /// ends; it then restores (`wattle energy --guard`). Empty: none.
  /// Throws Error(kUnsupported) if a device has no limits, if this process may not set them, or if
  /// another living process has limited the device, or if no limit suits all of them.
  GpuPowerLimits(std::shared_ptr<const Nvml> nvml, std::vector<NvmlDevice> devices,
                 std::string journal = kLimitJournal,
                 const std::vector<std::string>& guardian = {});
  ~GpuPowerLimits();
  GpuPowerLimits(const GpuPowerLimits&) = delete;
  GpuPowerLimits& operator=(const GpuPowerLimits&) = delete;

  /// What all the devices accept.
  double least_watts() const { return least_watts_; }
  double most_watts() const { return most_watts_; }
  size_t devices() const { return devices_.size(); }

  /// Sets every device's limit, moved into the range that they accept; returns that limit.
  double set_watts(double watts);

  /// Restores all limits now, and logs those that somebody else changed. Throws Error if a device
  /// refuses.
  void restore();

 private:
  void start_guardian(const std::vector<std::string>& command);

  std::shared_ptr<const Nvml> nvml_;
  std::vector<NvmlDevice> devices_;
  std::vector<uint64_t> previous_milliwatts_;
  std::vector<uint64_t> set_milliwatts_;  // 0: not set
  std::string journal_;
  double least_watts_ = 0, most_watts_ = 0;
  int guardian_pipe_ = -1;
  int guardian_pid_ = 0;
};

/// Limits for those of `devices` (ids as EnergyMonitor::devices() has them) that are GPUs, where
/// this process may set limits; else nothing, and `note` says why: power is then held by pacing
/// alone.
std::unique_ptr<GpuPowerLimits> find_power_limits(const std::vector<std::string>& devices,
                                                  const std::vector<std::string>& guardian,
                                                  std::string& note,
                                                  const std::string& library = "libnvidia-ml.so.1",
                                                  const std::string& journal = kLimitJournal);

/// Restores the limits that ended processes left on `devices`; returns a line for each of them.
/// Throws Error(kFormat) on a journal that can't be read, Error(kUnsupported) without privilege.
std::vector<std::string> restore_left_limits(const Nvml& nvml,
                                             const std::vector<NvmlDevice>& devices,
                                             const std::string& journal = kLimitJournal);

/// Whether any of the devices has a limit that is not yet restored, of a living process or not.
bool has_limit_notes(const std::vector<NvmlDevice>& devices,
                     const std::string& journal = kLimitJournal);

}  // namespace wattle
