#include "launch/agent/agent_settings.h"

#include <fmt/format.h>
#include <unistd.h>

#include <filesystem>

#include "common/error.h"

namespace wattle {
namespace {

namespace fs = std::filesystem;

std::string train_program(const std::string& given, const fs::path& self) {
  const fs::path path = given.empty() ? self.parent_path() / "wattle-train" : fs::absolute(given);
  if (::access(path.c_str(), X_OK) != 0) {
    throw Error(ErrorCode::kConfig, fmt::format("train_program: {} is no program", path.string()));
  }
  return path;
}

std::vector<agent::NodeDevice> devices_of(const scheduler::AgentOptions& options) {
  if (options.devices.empty()) {
    return agent::find_devices(options.idle_watts, options.max_watts, options.safe_limit_watts);
  }
  std::vector<agent::DeviceWish> wishes;
  for (const scheduler::AgentDeviceOptions& device : options.devices) {
    wishes.push_back(
        {device.type, static_cast<int>(device.count), device.idle_watts, device.max_watts,
         device.safe_limit_watts ? device.safe_limit_watts : options.safe_limit_watts});
  }
  return agent::processor_devices(wishes, agent::own_cpus());
}

}  // namespace

agent::Settings agent_settings(const scheduler::AgentOptions& options) {
  const fs::path self = fs::read_symlink("/proc/self/exe");
  agent::Settings settings;
  settings.node = options.name;
  settings.work_dir = fs::absolute(options.work_dir).lexically_normal();
  settings.jobs_dir = options.jobs_dir.empty()
                          ? settings.work_dir + "/jobs"
                          : fs::absolute(options.jobs_dir).lexically_normal().string();
  settings.stores_checkpoints = !options.jobs_dir_is_shared;
  settings.self_program = self;
  settings.train_program = train_program(options.train_program, self);
  for (const scheduler::TenantAccount& one : options.accounts) {
    settings.accounts[one.tenant] = agent::find_account(one.account);
  }
  if (!options.run_as.empty()) settings.account = agent::find_account(options.run_as);
  settings.limits = {options.limits.memory_bytes, options.limits.processes,
                     options.limits.open_files, options.limits.file_bytes};
  settings.mpi_network = options.mpi_network;
  settings.stop_grace_seconds = options.stop_grace_seconds;
  settings.devices = devices_of(options);
  settings.meter.meter = options.meter;
  settings.meter.trace_path = options.trace_path;
  settings.meter.idle_watts = options.idle_watts;
  settings.meter.max_watts = options.max_watts;
  return settings;
}

}  // namespace wattle
