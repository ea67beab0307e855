#include "scheduler/agent/agent.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstring>
#include <filesystem>

#include "common/error.h"
#include "scheduler/agent/link/place.h"
#include "scheduler/agent/power/idle_watts.h"
#include "scheduler/agent/runs/job_command.h"
#include "scheduler/digest/random_id.h"

namespace wattle::agent {
namespace {

namespace fs = std::filesystem;

constexpr std::chrono::milliseconds kTick{100};

void make_private_folder(const std::string& path, fs::perms perms) {
  std::error_code error;
  fs::create_directories(path, error);
  if (!error) fs::permissions(path, perms, error);
  if (error) throw Error(ErrorCode::kIo, fmt::format("{}: {}", path, error.message()));
}

}  // namespace

Agent::Agent(Settings settings, NodeMeter& meter, std::shared_ptr<grpc::Channel> channel)
    : settings_(std::move(settings)),
      meter_(meter),
      transfer_(channel),
      parts_{settings_,
             meter_.devices(),
             transfer_,
             [this] { return lease_->read(); },
             [this](v1::AgentMessage message) { send(std::move(message)); },
             [this](size_t most) { return is_registered_ && link_->has_room(stream_, most); },
             [](const std::string& text) { fmt::print(stderr, "wattle-agent: {}\n", text); }},
      instance_id_(scheduler::random_id()),
      newest_sequence_(settings_.devices.size(), 0),
      energy_(meter_.devices(), settings_.devices) {
  make_private_folder(settings_.work_dir,
                      fs::perms::owner_all | fs::perms::group_exec | fs::perms::others_exec);
  lock_folder();
  work_dir_id_ = work_dir_id(settings_.work_dir);
  keep_idle_watts(settings_.devices, settings_.work_dir + "/idle_watts.json");
  make_private_folder(settings_.work_dir + "/runs", fs::perms::owner_all);
  make_private_folder(settings_.jobs_dir,
                      fs::perms::owner_all | fs::perms::group_exec | fs::perms::others_exec);
  make_private_folder(settings_.work_dir + "/sessions",
                      fs::perms::owner_all | fs::perms::group_exec | fs::perms::others_exec);
  lease_ = std::make_unique<LeaseFile>(settings_.lease_file(), LeaseFile::Access::kWrite);
  adopt_runs();
  link_ = std::make_unique<DaemonLink>(channel, [this](LinkEvent event) {
    const std::lock_guard lock(mutex_);
    events_.push_back(std::move(event));
    wake_.notify_all();
  });
}

Agent::~Agent() {
  link_.reset();
  if (lock_fd_ >= 0) ::close(lock_fd_);
}

void Agent::lock_folder() {
  const std::string path = settings_.work_dir + "/agent.lock";
  lock_fd_ = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (lock_fd_ < 0) throw Error(ErrorCode::kIo, fmt::format("{}: {}", path, std::strerror(errno)));
  if (::flock(lock_fd_, LOCK_EX | LOCK_NB) != 0) {
    throw Error(ErrorCode::kConfig,
                fmt::format("work_dir: {} is in use by another agent", settings_.work_dir));
  }
}

void Agent::adopt_runs() {
  std::vector<std::string> folders;
  for (const auto& entry : fs::directory_iterator(settings_.work_dir + "/runs")) {
    folders.push_back(entry.path());
  }
  was_cut_off_ = is_cut_off();
  for (const std::string& folder : folders) adopt(folder);
  end_orphans();
}

void Agent::adopt(const std::string& folder) {
  try {
    auto run = std::make_unique<Run>(parts_, folder, load(folder));
    for (int device : run->record().launch.devices()) {
      newest_sequence_[static_cast<size_t>(device)] =
          std::max(newest_sequence_[static_cast<size_t>(device)], run->record().sequence);
    }
    parts_.say(fmt::format("run {}: taken over", run->record().launch.token()));
    if (was_cut_off_) run->fall_to_safe();  // its keeper has lowered it
    runs_[run->record().launch.token()] = std::move(run);
  } catch (const std::exception& e) {
    parts_.say(fmt::format("{}: is no run that could go on ({}): removed", folder, e.what()));
    std::error_code error;
    fs::remove_all(folder, error);
  }
}

/// What carries the mark of a run below this folder, and belongs to none that is held.
void Agent::end_orphans() const {
  const std::string runs = settings_.work_dir + "/runs/";
  for (const auto& [process, folder] : started_with(kRunVariable)) {
    const bool is_ours = folder.starts_with(runs);
    const bool is_held = std::any_of(runs_.begin(), runs_.end(), [&](const auto& entry) {
      return folder == run_folder(settings_, entry.first);
    });
    if (!is_ours || is_held) continue;
    parts_.say(fmt::format("process {} is left of a run that is gone: killed", process.pid));
    send_signal(process, SIGKILL);
  }
}

void Agent::stop() {
  const std::lock_guard lock(mutex_);
  is_stopping_ = true;
  wake_.notify_all();
}

void Agent::run() {
  auto next = std::chrono::steady_clock::now();
  while (true) {
    std::deque<LinkEvent> events;
    {
      std::unique_lock lock(mutex_);
      wake_.wait_until(lock, next, [this] { return is_stopping_ || !events_.empty(); });
      if (is_stopping_) return;
      events.swap(events_);
    }
    for (const LinkEvent& event : events) handle(event);
    const auto now = std::chrono::steady_clock::now();
    if (now < next) continue;
    next = now + kTick;
    tick();
  }
}

void Agent::handle(const LinkEvent& event) {
  if (const auto* opened = std::get_if<LinkOpened>(&event)) {
    register_node(opened->stream);
  } else if (const auto* broken = std::get_if<LinkBroken>(&event)) {
    if (broken->stream != stream_) return;
    if (is_registered_ || broken->why != last_break_) {
      parts_.say("no daemon: " + broken->why + "; trying again");
    }
    last_break_ = broken->why;
    stream_ = 0;
    is_registered_ = false;
  } else if (const auto* received = std::get_if<LinkCommand>(&event)) {
    if (received->stream == stream_) handle(received->command);
  }
}

void Agent::register_node(int64_t stream) {
  stream_ = stream;
  is_registered_ = false;
  opened_at_ = boot_seconds();
  watch_lease(opened_at_);  // what is reported as the limit in force has to be
  v1::AgentMessage message;
  v1::Registration& registration = *message.mutable_registration();
  registration.set_node(settings_.node);
  registration.set_meter(meter_.label());
  registration.set_shares_jobs_dir(!settings_.stores_checkpoints);
  registration.set_work_dir_id(work_dir_id_);
  registration.set_boot_id(boot_id());
  registration.set_instance_id(instance_id_);
  for (v1::DeviceGroup& group : groups_of(settings_.devices)) *registration.add_devices() = group;
  for (const auto& [token, run] : runs_) *registration.add_runs() = run->held(is_cut_off());
  for (const auto& [token, exited] : refused_) {
    v1::HeldRun& held = *registration.add_runs();
    held.set_token(token);
    held.set_limit_watts(settings_.devices.front().idle_watts);  // nothing runs
    *held.mutable_exited() = exited;
  }
  registration_sent_ = boot_seconds();
  link_->send(stream_, std::move(message));
}

}  // namespace wattle::agent
