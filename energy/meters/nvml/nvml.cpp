#include "energy/meters/nvml/nvml.h"

#include <dlfcn.h>
#include <fmt/format.h>

#include <array>
#include <sstream>

#include "common/error.h"

namespace wattle {
namespace {

// The part of NVML's C interface that is used here, after NVIDIA's NVML API reference guide.
constexpr int kSuccess = 0;
constexpr int kInvalidArgument = 2;
constexpr int kNotSupported = 3;
constexpr int kNoPermission = 4;
constexpr unsigned kFieldPowerInstant = 186;
constexpr unsigned kScopeGpu = 0;  // scope 1 is the module, with the processor beside the GPU

union Value {
  double as_double;
  int as_int;
  unsigned as_unsigned;
  unsigned long as_unsigned_long;
  unsigned long long as_unsigned_long_long;
  long long as_long_long;
  unsigned short as_unsigned_short;
};

struct FieldValue {
  unsigned field;
  unsigned scope;
  long long timestamp;
  long long latency_microseconds;
  int value_type;
  int code;
  Value value;
};

std::optional<uint64_t> unsigned_value(const FieldValue& field) {
  switch (field.value_type) {
    case 1:
      return field.value.as_unsigned;
    case 2:
      return field.value.as_unsigned_long;
    case 3:
      return field.value.as_unsigned_long_long;
    case 6:
      return field.value.as_unsigned_short;
    default:
      return std::nullopt;
  }
}

}  // namespace

struct Nvml::Symbols {
  explicit Symbols(const std::string& library);
  ~Symbols() { dlclose(library); }
  Symbols(const Symbols&) = delete;
  Symbols& operator=(const Symbols&) = delete;

  template <class F>
  void load(F*& function, const char* name) {
    function = reinterpret_cast<F*>(dlsym(library, name));
  }

  void* library = nullptr;
  int (*init)() = nullptr;
  int (*shutdown)() = nullptr;
  const char* (*error_string)(int) = nullptr;
  int (*count)(unsigned*) = nullptr;
  int (*by_index)(unsigned, void**) = nullptr;
  int (*uuid)(void*, char*, unsigned) = nullptr;
  int (*name)(void*, char*, unsigned) = nullptr;
  int (*total_energy)(void*, unsigned long long*) = nullptr;
  int (*field_values)(void*, int, FieldValue*) = nullptr;
  int (*power_usage)(void*, unsigned*) = nullptr;
  int (*limit)(void*, unsigned*) = nullptr;
  int (*limit_range)(void*, unsigned*, unsigned*) = nullptr;
  int (*set_limit)(void*, unsigned) = nullptr;
};

Nvml::Symbols::Symbols(const std::string& library_name)
    : library(dlopen(library_name.c_str(), RTLD_NOW | RTLD_LOCAL)) {
  if (!library) {
    throw Error(ErrorCode::kUnsupported, fmt::format("no NVIDIA driver here ({})", dlerror()));
  }
  load(init, "nvmlInit_v2");
  load(shutdown, "nvmlShutdown");
  load(error_string, "nvmlErrorString");
  load(count, "nvmlDeviceGetCount_v2");
  load(by_index, "nvmlDeviceGetHandleByIndex_v2");
  load(uuid, "nvmlDeviceGetUUID");
  load(name, "nvmlDeviceGetName");
  load(total_energy, "nvmlDeviceGetTotalEnergyConsumption");
  load(field_values, "nvmlDeviceGetFieldValues");
  load(power_usage, "nvmlDeviceGetPowerUsage");
  load(limit, "nvmlDeviceGetPowerManagementLimit");
  load(limit_range, "nvmlDeviceGetPowerManagementLimitConstraints");
  load(set_limit, "nvmlDeviceSetPowerManagementLimit");
  if (!init || !shutdown || !error_string || !count || !by_index || !uuid || !name) {
    dlclose(library);
    throw Error(ErrorCode::kUnsupported,
                fmt::format("{} is no NVML library: functions are missing", library_name));
  }
}

Nvml::Nvml(const std::string& library) : symbols_(std::make_unique<Symbols>(library)) {
  if (const int code = symbols_->init(); code != kSuccess) {
    throw Error(ErrorCode::kUnsupported,
                fmt::format("NVML does not start: {}", symbols_->error_string(code)));
  }
}

Nvml::~Nvml() { symbols_->shutdown(); }

/// False if the device lacks what was asked for; throws on failure.
bool Nvml::holds_value(int code, const std::string& call) const {
  if (code == kSuccess) return true;
  if (code == kNotSupported || code == kInvalidArgument) return false;
  throw Error(ErrorCode::kIo, fmt::format("NVML: {}: {}", call, symbols_->error_string(code)));
}

std::vector<NvmlDevice> Nvml::devices() const {
  unsigned count = 0;
  if (!holds_value(symbols_->count(&count), "counting devices")) return {};
  std::vector<NvmlDevice> devices;
  for (unsigned i = 0; i < count; ++i) {
    NvmlDevice device;
    std::array<char, 128> text{};
    if (!holds_value(symbols_->by_index(i, &device.handle), fmt::format("device {}", i)) ||
        !holds_value(symbols_->uuid(device.handle, text.data(), text.size()), "UUID")) {
      throw Error(ErrorCode::kIo, fmt::format("NVML: device {} has no handle or no UUID", i));
    }
    device.uuid = text.data();
    if (holds_value(symbols_->name(device.handle, text.data(), text.size()), "name")) {
      device.name = text.data();
    }
    devices.push_back(device);
  }
  return devices;
}

std::optional<uint64_t> Nvml::total_energy_millijoules(const NvmlDevice& device) const {
  unsigned long long millijoules = 0;
  if (!symbols_->total_energy ||
      !holds_value(symbols_->total_energy(device.handle, &millijoules), device.uuid)) {
    return std::nullopt;
  }
  return millijoules;
}

std::optional<uint64_t> Nvml::power_milliwatts(const NvmlDevice& device) const {
  if (symbols_->field_values) {
    FieldValue field{};
    field.field = kFieldPowerInstant;
    field.scope = kScopeGpu;
    const int code = symbols_->field_values(device.handle, 1, &field);
    if (holds_value(code, device.uuid) && holds_value(field.code, device.uuid)) {
      if (const auto value = unsigned_value(field)) return value;
    }
  }
  unsigned milliwatts = 0;
  if (!symbols_->power_usage ||
      !holds_value(symbols_->power_usage(device.handle, &milliwatts), device.uuid)) {
    return std::nullopt;
  }
  return milliwatts;
}

std::optional<uint64_t> Nvml::power_limit_milliwatts(const NvmlDevice& device) const {
  unsigned milliwatts = 0;
  if (!symbols_->limit || !holds_value(symbols_->limit(device.handle, &milliwatts), device.uuid)) {
    return std::nullopt;
  }
  return milliwatts;
}

std::optional<Nvml::LimitRange> Nvml::power_limit_range(const NvmlDevice& device) const {
  unsigned least = 0, most = 0;
  if (!symbols_->limit_range ||
      !holds_value(symbols_->limit_range(device.handle, &least, &most), device.uuid)) {
    return std::nullopt;
  }
  return LimitRange{least, most};
}

void Nvml::set_power_limit_milliwatts(const NvmlDevice& device, uint64_t milliwatts) const {
  if (!symbols_->set_limit) {
    throw Error(ErrorCode::kUnsupported, "NVML: this driver sets no power limits");
  }
  const int code = symbols_->set_limit(device.handle, static_cast<unsigned>(milliwatts));
  if (code == kSuccess) return;
  const bool is_refused = code == kNoPermission || code == kNotSupported;
  throw Error(is_refused ? ErrorCode::kUnsupported : ErrorCode::kIo,
              fmt::format("NVML: {}: the power limit can't be set to {} W: {}{}", device.uuid,
                          static_cast<double>(milliwatts) / 1000, symbols_->error_string(code),
                          code == kNoPermission ? " (only root may)" : ""));
}

namespace {

const NvmlDevice* find_device(const std::vector<NvmlDevice>& all, const std::string& entry) {
  if (!entry.empty() && entry.size() < 6 &&
      entry.find_first_not_of("0123456789") == std::string::npos) {
    const size_t index = std::stoul(entry);
    return index < all.size() ? &all[index] : nullptr;
  }
  if (entry.starts_with("MIG-")) {
    throw Error(
        ErrorCode::kUnsupported,
        fmt::format("NVML has no meter for a part of a GPU (CUDA_VISIBLE_DEVICES has {})", entry));
  }
  const NvmlDevice* found = nullptr;
  for (const NvmlDevice& device : all) {
    if (!entry.starts_with("GPU-") || !device.uuid.starts_with(entry)) continue;
    if (found) return nullptr;  // CUDA takes only beginnings that name one device
    found = &device;
  }
  return found;
}

}  // namespace

std::vector<NvmlDevice> visible_devices(const std::vector<NvmlDevice>& all,
                                        const std::optional<std::string>& cuda_visible_devices) {
  if (!cuda_visible_devices) return all;
  std::vector<NvmlDevice> visible;
  std::istringstream list(*cuda_visible_devices);
  for (std::string entry; std::getline(list, entry, ',');) {
    std::erase(entry, ' ');
    const NvmlDevice* device = find_device(all, entry);
    if (!device) break;
    visible.push_back(*device);
  }
  return visible;
}

}  // namespace wattle
