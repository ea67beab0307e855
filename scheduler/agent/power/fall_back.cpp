#include "scheduler/agent/power/fall_back.h"

#include <fmt/format.h>

#include <cmath>
#include <filesystem>

#include "common/atomic_file.h"
#include "common/error.h"
#include "energy/meters/nvml/nvml.h"

namespace wattle::agent {

void write_cap(const std::string& control_file, double cap_watts,
               const std::optional<Account>& account) {
  const AsUser as_user(account);
  std::error_code error;
  const auto folder = std::filesystem::path(control_file).parent_path();
  std::filesystem::create_directories(folder, error);
  if (error) {
    throw Error(ErrorCode::kIo,
                fmt::format("can't create the folder {}: {}", folder.string(), error.message()));
  }
  AtomicFile file(control_file);
  file.write(fmt::format("{{\"power_cap_watts\": {}}}\n", cap_watts));
  file.commit();
}

void set_gpu_limit(const std::string& uuid, double watts) {
  const Nvml nvml;
  for (const NvmlDevice& device : nvml.devices()) {
    if (device.uuid != uuid) continue;
    nvml.set_power_limit_milliwatts(device, static_cast<uint64_t>(std::floor(watts * 1000)));
    return;
  }
  throw Error(ErrorCode::kUnsupported, fmt::format("this machine has no GPU {}", uuid));
}

std::string fall_back(const Fallback& fallback, const std::optional<Account>& account) {
  std::string failures;
  const auto attempt = [&failures](const auto& action) {
    try {
      action();
    } catch (const Error& e) {
      failures += fmt::format("{}{}", failures.empty() ? "" : "; ", e.what());
    }
  };
  if (!fallback.control_file.empty()) {
    attempt([&] { write_cap(fallback.control_file, fallback.cap_watts, account); });
  }
  for (const auto& [uuid, watts] : fallback.gpu_limits) {
    attempt([&, &uuid = uuid, &watts = watts] { set_gpu_limit(uuid, watts); });
  }
  return failures;
}

}  // namespace wattle::agent
