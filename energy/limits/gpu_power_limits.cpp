#include "energy/limits/gpu_power_limits.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <spawn.h>
#include <spdlog/spdlog.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cmath>
#include <cstring>
#include <limits>

#include "common/error.h"
#include "energy/limits/limit_journal.h"

extern char** environ;

namespace wattle {
namespace {

double watts_of(uint64_t milliwatts) { return static_cast<double>(milliwatts) / 1000; }

/// Gives the device its previous limit if one of the noted limits is still in force; says whether.
bool restore_noted(const Nvml& nvml, const NvmlDevice& device, const LimitNote& note,
                   const LimitJournal& journal) {
  const auto current = nvml.power_limit_milliwatts(device);
  const bool is_ours =
      current && std::ranges::find(note.set_milliwatts, *current) != note.set_milliwatts.end();
  if (is_ours) nvml.set_power_limit_milliwatts(device, note.previous_milliwatts);
  journal.erase(device.uuid);
  return is_ours;
}

}  // namespace

std::vector<std::string> restore_left_limits(const Nvml& nvml,
                                             const std::vector<NvmlDevice>& devices,
                                             const std::string& folder) {
  const LimitJournal journal(folder);
  std::vector<std::string> done;
  for (const NvmlDevice& device : devices) {
    const std::optional<LimitNote> note = journal.read(device.uuid);
    if (!note || note->is_owner_alive()) continue;
    const bool is_restored = restore_noted(nvml, device, *note, journal);
    done.push_back(
        is_restored ? fmt::format("{}: power limit restored to {} W (process {} left it changed)",
                                  device.uuid, watts_of(note->previous_milliwatts), note->pid)
                    : fmt::format("{}: power limit left as it is: it was changed after process "
                                  "{} had set it",
                                  device.uuid, note->pid));
  }
  return done;
}

bool has_limit_notes(const std::vector<NvmlDevice>& devices, const std::string& folder) {
  const LimitJournal journal(folder);
  return std::ranges::any_of(devices, [&journal](const NvmlDevice& device) {
    return journal.read(device.uuid).has_value();
  });
}

GpuPowerLimits::GpuPowerLimits(std::shared_ptr<const Nvml> nvml, std::vector<NvmlDevice> devices,
                               std::string journal, const std::vector<std::string>& guardian)
    : nvml_(std::move(nvml)),
      devices_(std::move(devices)),
      journal_(std::move(journal)),
      most_watts_(std::numeric_limits<double>::infinity()) {
  for (const std::string& line : restore_left_limits(*nvml_, devices_, journal_)) {
    spdlog::warn("energy: {}", line);
  }
  for (const NvmlDevice& device : devices_) {
    const auto limit = nvml_->power_limit_milliwatts(device);
    const auto range = nvml_->power_limit_range(device);
    if (!limit || !range) {
      throw Error(ErrorCode::kUnsupported,
                  fmt::format("{} ({}) has no power limit", device.uuid, device.name));
    }
    if (const auto note = LimitJournal(journal_).read(device.uuid)) {
      throw Error(ErrorCode::kUnsupported,
                  fmt::format("{}: process {} holds its power limit", device.uuid, note->pid));
    }
    // Setting the limit that is in force changes nothing but tells whether it may be set.
    nvml_->set_power_limit_milliwatts(device, *limit);
    previous_milliwatts_.push_back(*limit);
    least_watts_ = std::max(least_watts_, watts_of(range->least_milliwatts));
    most_watts_ = std::min(most_watts_, watts_of(range->most_milliwatts));
  }
  if (least_watts_ > most_watts_) {
    throw Error(ErrorCode::kUnsupported,
                fmt::format("no power limit suits all GPUs: one needs at least {} W, another at "
                            "most {} W",
                            least_watts_, most_watts_));
  }
  set_milliwatts_.assign(devices_.size(), 0);
  if (!guardian.empty()) start_guardian(guardian);
}

GpuPowerLimits::~GpuPowerLimits() {
  try {
    restore();
  } catch (const Error& e) {
    spdlog::error("energy: {}; `wattle energy --restore` tries again", e.what());
  }
  if (guardian_pid_ > 0) {
    close(guardian_pipe_);  // it finds nothing left to do and ends
    waitpid(guardian_pid_, nullptr, 0);
  }
}

double GpuPowerLimits::set_watts(double watts) {
  const double limit = std::round(std::clamp(watts, least_watts_, most_watts_));
  const auto milliwatts = static_cast<uint64_t>(limit * 1000);
  const LimitJournal journal(journal_);
  for (size_t i = 0; i < devices_.size(); ++i) {
    if (set_milliwatts_[i] == milliwatts) continue;
    LimitNote note = LimitNote::of_this_process(previous_milliwatts_[i]);
    if (set_milliwatts_[i] != 0) note.set_milliwatts.push_back(set_milliwatts_[i]);
    note.set_milliwatts.push_back(milliwatts);
    journal.write(devices_[i].uuid, note);
    nvml_->set_power_limit_milliwatts(devices_[i], milliwatts);
    set_milliwatts_[i] = milliwatts;
  }
  return limit;
}

void GpuPowerLimits::restore() {
  const LimitJournal journal(journal_);
  for (size_t i = 0; i < devices_.size(); ++i) {
    if (set_milliwatts_[i] == 0) continue;
    const auto note = journal.read(devices_[i].uuid);
    const bool is_restored =
        note && note->is_own() && restore_noted(*nvml_, devices_[i], *note, journal);
    if (!is_restored) {
      spdlog::warn("energy: {}: power limit left as it is: somebody else changed it",
                   devices_[i].uuid);
    }
    set_milliwatts_[i] = 0;
  }
}

void GpuPowerLimits::start_guardian(const std::vector<std::string>& command) {
  std::array<int, 2> pipe_ends{};
  if (pipe2(pipe_ends.data(), O_CLOEXEC) != 0) {
    throw Error(ErrorCode::kIo, fmt::format("energy: no pipe: {}", std::strerror(errno)));
  }
  posix_spawn_file_actions_t actions;
  posix_spawnattr_t attributes;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, pipe_ends[0], STDIN_FILENO);
  posix_spawnattr_init(&attributes);
  // A session of its own: signals to the run's process group pass it by.
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSID);
  std::vector<char*> arguments;
  for (const std::string& word : command) arguments.push_back(const_cast<char*>(word.c_str()));
  arguments.push_back(nullptr);
  pid_t pid = 0;
  const int code =
      posix_spawnp(&pid, arguments[0], &actions, &attributes, arguments.data(), environ);
  posix_spawnattr_destroy(&attributes);
  posix_spawn_file_actions_destroy(&actions);
  close(pipe_ends[0]);
  if (code != 0) {
    close(pipe_ends[1]);
    throw Error(ErrorCode::kIo,
                fmt::format("energy: can't start {}: {}", command[0], std::strerror(code)));
  }
  guardian_pipe_ = pipe_ends[1];
  guardian_pid_ = pid;
}

std::unique_ptr<GpuPowerLimits> find_power_limits(const std::vector<std::string>& devices,
                                                  const std::vector<std::string>& guardian,
                                                  std::string& note, const std::string& library,
                                                  const std::string& journal) {
  const auto is_metered = [&devices](const NvmlDevice& device) {
    return std::ranges::find(devices, "gpu:" + device.uuid) != devices.end();
  };
  try {
    auto nvml = std::make_shared<const Nvml>(library);
    std::vector<NvmlDevice> gpus = nvml->devices();
    std::erase_if(gpus, [&](const NvmlDevice& device) { return !is_metered(device); });
    if (gpus.empty()) {
      note = "power limits: none: no GPU is metered";
      return nullptr;
    }
    return std::make_unique<GpuPowerLimits>(std::move(nvml), std::move(gpus), journal, guardian);
  } catch (const Error& e) {
    if (e.code() != ErrorCode::kUnsupported) throw;
    note = fmt::format("power limits: none: {}", e.what());
    return nullptr;
  }
}

}  // namespace wattle
