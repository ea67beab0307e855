#pragma once

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "scheduler/rpc/wattle.pb.h"

namespace wattle::agent {

/// One device of this node: a GPU, or a share of the processors. It runs one rank.
struct NodeDevice {
  std::string type;
  double idle_watts = 0;
  double min_limit_watts = 0;
  double max_limit_watts = 0;
  double safe_watts = 0;
  std::vector<int> cpus;  ///< the logical processors its rank may use
  double processors = 0;  ///< how many of them are its own: two devices may share one
  std::string gpu_uuid;   ///< "" = no GPU

  bool is_gpu() const { return !gpu_uuid.empty(); }
  /// What a second of processor time draws above idle, as the model has it.
  double joules_per_cpu_second() const {
    return processors > 0 ? (max_limit_watts - idle_watts) / processors : 0;
  }
};

/// What agent.yaml says of one group of devices, and of those that `auto` finds.
struct DeviceWish {
  std::string type;
  int count = 0;
  double idle_watts = 0;
  double max_watts = 0;
  std::optional<double> safe_watts;
};

/// The logical processors that this process may use.
std::vector<int> own_cpus();

/// Devices that are shares of the processors: `cpus` is dealt out evenly among all of them. A limit
/// may go down to a tenth of the way from idle to maximum, for the trainer holds it by pauses.
std::vector<NodeDevice> processor_devices(const std::vector<DeviceWish>& wishes,
                                          const std::vector<int>& cpus);

/// What this machine has: its GPUs, else its processors as one device. `safe_watts` is per device;
/// without one, the lowest limit. Throws Error(kUnsupported) if a GPU can't be limited.
std::vector<NodeDevice> find_devices(const std::optional<double>& idle_watts,
                                     const std::optional<double>& max_watts,
                                     const std::optional<double>& safe_watts);

/// Consecutive devices that are alike, as they are registered.
std::vector<v1::DeviceGroup> groups_of(std::span<const NodeDevice> devices);

}  // namespace wattle::agent
