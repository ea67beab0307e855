#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace wattle {

/// A GPU as NVML knows it.
struct NvmlDevice {
  void* handle = nullptr;
  std::string uuid;  ///< "GPU-6f2a…"
  std::string name;
};

/// The NVIDIA management library, opened at run time, so that programs start on machines without
/// it. Figures in the library's own units. Safe to use from several threads, as NVML is.
///
/// Queries give nothing where the device lacks what is asked for; they throw Error(kIo) on every
/// other failure, with NVML's own words.
class Nvml {
 public:
  /// Throws Error(kUnsupported) if the library can't be opened or finds no driver.
  explicit Nvml(const std::string& library = "libnvidia-ml.so.1");
  ~Nvml();
  Nvml(const Nvml&) = delete;
  Nvml& operator=(const Nvml&) = delete;

  /// All GPUs, in the order of their PCI bus ids.
  std::vector<NvmlDevice> devices() const;

  std::optional<uint64_t> total_energy_millijoules(const NvmlDevice& device) const;
  /// Power of this instant; on old drivers without that field, the driver's own average.
  std::optional<uint64_t> power_milliwatts(const NvmlDevice& device) const;

  std::optional<uint64_t> power_limit_milliwatts(const NvmlDevice& device) const;
  struct LimitRange {
    uint64_t least_milliwatts = 0, most_milliwatts = 0;
  };
  std::optional<LimitRange> power_limit_range(const NvmlDevice& device) const;
  /// Throws Error(kUnsupported) without the privilege (root) or on a device without limits.
  void set_power_limit_milliwatts(const NvmlDevice& device, uint64_t milliwatts) const;

 private:
  struct Symbols;
  bool holds_value(int code, const std::string& call) const;

  std::unique_ptr<Symbols> symbols_;
};

/// The devices that CUDA_VISIBLE_DEVICES leaves: indices or (the beginnings of) UUIDs; as in CUDA,
/// the list ends at its first entry that names no device. No value: all of them. Indices count in
/// PCI bus order, which is CUDA's own with CUDA_DEVICE_ORDER=PCI_BUS_ID or on equal GPUs.
/// Throws Error(kUnsupported) on a MIG instance, which has no meter of its own.
std::vector<NvmlDevice> visible_devices(const std::vector<NvmlDevice>& all,
                                        const std::optional<std::string>& cuda_visible_devices);

}  // namespace wattle
