#include "scheduler/agent/runs/run.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <filesystem>
#include <utility>

#include "common/error.h"
#include "scheduler/agent/runs/job_command.h"

namespace wattle::agent {
namespace {

/// mpirun ends within a second of its last rank and its last remote daemon.
constexpr double kChildlessSeconds = 15;

constexpr double kStoreSeconds = 60;

/// How far ranks may be beyond their limit, as time at it, before the agent stops them. A trainer
/// paces itself, more evenly than any stop can, but neither its start nor its end, nor, over a
/// stream that may be cut, what it has on further nodes.
constexpr double kDebtSeconds = 0.25;
constexpr double kInVainSeconds = 10;

/// Why a run was stopped; the daemon uses the word, too.
constexpr const char* kEnergyBudget = "EnergyBudget";

std::vector<NodeDevice> devices_of(const Settings& settings, const v1::Launch& launch) {
  std::vector<NodeDevice> devices;
  for (int index : launch.devices()) {
    if (index < 0 || index >= static_cast<int>(settings.devices.size())) {
      throw Error(ErrorCode::kConfig,
                  fmt::format("launch {}: device {} is asked for, this node has {}", launch.token(),
                              index, settings.devices.size()));
    }
    devices.push_back(settings.devices[static_cast<size_t>(index)]);
  }
  if (devices.empty() || launch.hosts().empty() || launch.ranks() < 1) {
    throw Error(ErrorCode::kConfig,
                fmt::format("launch {}: has no devices, hosts or ranks", launch.token()));
  }
  return devices;
}

int64_t size_of(const std::string& path, const std::optional<Account>& account) {
  const AsUser as_user(account);
  std::error_code error;
  const auto size = std::filesystem::file_size(path, error);
  return error ? 0 : static_cast<int64_t>(size);
}

}  // namespace

Run::Run(const RunParts& parts, std::string folder, RunRecord record)
    : parts_(parts),
      folder_(std::move(folder)),
      record_(std::move(record)),
      first_limit_watts_(record_.limit_watts),
      devices_(devices_of(parts.settings, record_.launch)),
      account_(parts.settings.account_of(record_.launch.tenant())),
      files_(job_files(parts.settings, record_.launch)),
      command_(folder_, kRunVariable),
      energy_(parts.meters, devices_, devices_.size() == parts.settings.devices.size(),
              record_.energy),
      metrics_(files_, record_.metrics, account_),
      checkpoints_(parts.transfer, files_, account_),
      stopper_(parts.settings.stop_grace_seconds),
      governor_(kDebtSeconds),
      is_frozen_(command_.was_started()) {  // the agent before may have held it back
  if (command_.was_started()) lived_until_ = parts_.lease().runs_until;
  if (!has_ended() && !command_.was_started() && !record_.is_prepared) {
    preparing_ = std::async(std::launch::async, [this] {
      try {
        prepare(files_, parts_.settings, record_.launch, parts_.transfer, gives_up_);
        return std::optional<Ending>();
      } catch (const std::exception& e) {
        return std::optional(could_not_start(e));
      }
    });
  }
}

bool Run::remember() {
  record_.energy = energy_.record();
  try {
    save(folder_, record_);
    return true;
  } catch (const std::exception& e) {
    parts_.say(e.what());
    return false;
  }
}

KeeperOrder Run::order(std::vector<std::string> argv) const {
  const Settings& settings = parts_.settings;
  KeeperOrder order;
  order.argv = std::move(argv);
  order.environment = job_environment(settings, record_.launch, files_, folder_, devices_);
  order.folder = files_.folder;
  order.account = account_;
  for (const NodeDevice& device : devices_) {
    order.cpus.insert(order.cpus.end(), device.cpus.begin(), device.cpus.end());
  }
  order.limits = settings.limits;
  order.lease_file = settings.lease_file();
  order.joules_file = joules_file();
  order.stop_seconds = settings.stop_grace_seconds;
  for (const NodeDevice& device : devices_) {
    if (device.is_gpu()) order.fallback.gpu_limits[device.gpu_uuid] = device.safe_watts;
  }
  if (is_on_processors() && is_first()) {
    order.fallback.control_file = files_.control_file();
    order.fallback.cap_watts = devices_.front().safe_watts * record_.launch.ranks();
  }
  order.fallback.freezes = is_on_processors() && !is_first();
  if (is_first()) order.childless_seconds = kChildlessSeconds;
  return order;
}

void Run::start(std::vector<std::string> argv) {
  try {
    renew_joules();
    make_folder(session_folder(parts_.settings, record_.launch), account_);
    command_.start(parts_.settings.self_program, order(std::move(argv)));
  } catch (const std::exception& e) {
    end(could_not_start(e));
  }
}

/// Takes note of what the preparation has done; false while it is not done, or has failed. A run
/// that is to be stopped needs nothing of it.
bool Run::is_prepared() {
  if (!preparing_.valid()) return true;
  if (preparing_.wait_for(std::chrono::seconds(0)) != std::future_status::ready) return false;
  std::optional<Ending> failure = preparing_.get();
  record_.metrics = {size_of(files_.metrics_file(), account_),
                     size_of(files_.float_metrics_file(), account_),
                     steps_in(files_.float_run(), account_)};
  metrics_ = MetricsTail(files_, record_.metrics, account_);
  record_.is_prepared = true;
  if (!failure && !remember()) {
    failure = {127, 0, boot_seconds(), "the agent can't write its notes of the run",
               StartFault::kNode};
  }
  if (!failure || is_stopping()) return true;
  end(*failure);
  return false;
}

void Run::start_when_prepared() {
  if (!is_prepared()) return;
  if (is_stopping()) return end({kExitStopped, 0, boot_seconds(), ""});
  if (!is_first()) {
    if (record_.remote_request) start(record_.remote_argv);
    return;
  }
  try {
    apply_limit();
  } catch (const Error& e) {
    Ending ending = could_not_start(e);
    // The file of a run's cap lies among its own files, which may be in its way.
    if (is_on_processors()) ending.fault = StartFault::kElsewhere;
    return end(ending);
  }
  if (const std::string why = needs_door() ? open_door() : ""; !why.empty()) {
    return end({127, 0, boot_seconds(), why});
  }
  start(job_command(parts_.settings, record_.launch, files_));
}

void Run::kill() {
  record_.stop_reason = "Killed";
  if (record_.stop_began == 0) record_.stop_began = boot_seconds();
  record_.is_killed = true;
  remember();
}

bool Run::obey(const v1::Command& command) {
  if (has_ended()) return command.has_set_limit();  // nothing runs on its devices any more
  switch (command.body_case()) {
    case v1::Command::kSetLimit:
      return set_limit(command.set_limit().limit_watts(), command.set_limit().sequence());
    case v1::Command::kStop:
      stop(command.stop().reason());
      break;
    case v1::Command::kKill:
      kill();
      break;
    case v1::Command::kLeaseJoules:
      record_.leased_joules = command.lease_joules().joules();
      remember();
      break;
    case v1::Command::kRemoteStart:
      serve_remote(command.remote_start());
      break;
    case v1::Command::kRemoteResult:
      if (remotes_) remotes_->take(command.remote_result());
      break;
    default:
      break;
  }
  return false;
}

void Run::stop(const std::string& reason) {
  record_.stop_reason = reason;
  if (record_.stop_began == 0) record_.stop_began = boot_seconds();
  gives_up_ = true;
  remember();
}

void Run::tick(const Readings& readings, bool is_cut_off) {
  is_log_sent_ = log_sent_ >= 0 && !send_log();
  if (has_ended()) return energy_.rest();
  try {
    if (fault_.empty()) {
      move(readings, is_cut_off);
    } else {
      give_up(readings);
    }
  } catch (const std::exception& e) {
    note_fault(e.what());
  }
}

/// From before its start, so that an agent that is started again knows since when nothing is
/// booked.
void Run::move(const Readings& readings, bool is_cut_off) {
  if (energy_.record().at == 0) energy_.book(readings, 0, most_watts());
  if (!command_.was_started() && !ending_) {
    if (record_.is_killed) end({128 + SIGKILL, 0, boot_seconds(), ""});
    if (!ending_) start_when_prepared();
  }
  if (command_.was_started() && !ending_) {
    watch_door();
    move_stop();
    report_start();
    if (const auto ending = command_.ending()) end(*ending);
  }
  account(readings, is_cut_off);
  if (command_.was_started()) tell_keeper_of_joules();
  if (readings.at >= metrics_at_ + 1) {
    metrics_at_ = readings.at;
    read_metrics();
    if (is_first() && record_.is_prepared && parts_.settings.stores_checkpoints) {
      has_new_checkpoint_ = checkpoints_.poll() || has_new_checkpoint_;
    }
  }
  if (ending_) finish();
}

/// What lies there before is of earlier runs, and not whole while it is brought.
void Run::read_metrics() {
  if (record_.is_prepared) metrics_.poll();
}

void Run::account(const Readings& readings, bool is_cut_off) {
  if (ending_) return account_end(readings);
  // What is left of it is being killed; then it is known until when it was there.
  if (command_.was_started() && !command_.is_kept()) return;
  const double before = energy_.joules(), at = energy_.record().at;
  energy_.book(readings, command_.cpu_seconds(), most_watts());
  if (at > 0) hold_back(readings.at - at, energy_.joules() - before, is_cut_off);
  if (record_.leased_joules && energy_.joules() >= *record_.leased_joules && !is_stopping()) {
    parts_.say(fmt::format("run {}: its {:.0f} J are used", record_.launch.token(),
                           *record_.leased_joules));
    stop(kEnergyBudget);
  }
}

/// Stops the ranks for moments where they are over the limit, so that it holds on average whatever
/// they do. One that is to end is not kept from it. On further nodes that are cut off, that is the
/// keeper's to do.
void Run::hold_back(double seconds, double joules, bool is_cut_off) {
  if (!is_on_processors() || ending_ || seconds <= 0) return;
  const double limit = limit_watts(is_cut_off) * static_cast<double>(devices_.size());
  const bool is_to_end =
      is_stopping() ||
      boot_seconds() >= stop_time(parts_.lease(), parts_.settings.stop_grace_seconds);
  const bool is_over = governor_.is_over(seconds, joules, limit) && !is_to_end;
  const bool is_the_keepers = is_cut_off && !is_first();
  if (is_the_keepers || (!is_over && !is_frozen_)) return;
  if (governor_.in_vain_seconds() > kInVainSeconds && !std::exchange(has_told_of_vain_, true)) {
    parts_.say(
        fmt::format("run {}: {:.1f} W are drawn with its ranks stopped, and its limit is "
                    "{:.1f} W: others work on this node, or idle_watts is too low",
                    record_.launch.token(), joules / seconds, limit));
  }
  is_frozen_ = is_over;
  if (const auto command = command_.command()) {
    signal_all(descendants(*command), is_over ? SIGSTOP : SIGCONT);
  }
}

void Run::move_stop() {
  if (record_.is_killed) return command_.kill();
  if (!is_stopping()) return;
  const auto keeper = command_.keeper(), command = command_.command();
  if (keeper && command) {
    stopper_.step(*keeper, *command, !is_first(), boot_seconds() - record_.stop_began);
  }
}

void Run::end(const Ending& ending) {
  ending_ = ending;
  // Where the daemon has not told it to stop, it would pass for a failure.
  const bool is_stopped_for_joules = record_.stop_reason == kEnergyBudget && !record_.is_killed;
  if (is_stopped_for_joules && ending.exit_code != kExitDone) ending_->exit_code = kExitStopped;
  gives_up_ = true;
  if (!ending.error.empty()) {
    parts_.say(fmt::format("run {}: {}", record_.launch.token(), ending.error));
  }
  // What is whole now is tried once more if it failed, and given up after a minute.
  checkpoints_.try_again();
  metrics_at_ = 0;
  store_until_ = boot_seconds() + kStoreSeconds;
}

void Run::finish() {
  if (preparing_.valid() &&
      preparing_.wait_for(std::chrono::seconds(0)) != std::future_status::ready) {
    return;  // it still touches the job's folder
  }
  const bool needs_checkpoint = is_first() && ending_->exit_code != kExitDone &&
                                record_.is_prepared && parts_.settings.stores_checkpoints;
  if (!needs_checkpoint || boot_seconds() >= store_until_) checkpoints_.give_up();
  while (checkpoints_.poll()) {
  }  // an older one may have been on its way
  if (checkpoints_.is_busy()) return;
  read_metrics();
  report();  // the last steps
  close(exit_report(needs_checkpoint));
}

void Run::close(v1::RunExited exited) {
  record_.exited = std::move(exited);
  std::error_code error;
  std::filesystem::remove_all(session_folder(parts_.settings, record_.launch), error);
  remotes_.reset();
  remember();
  send_remote_end();
}

void Run::registered(int64_t log_bytes, int64_t most_log_bytes) {
  is_log_sent_ = false;
  log_sent_ = is_first() ? log_bytes : std::max<int64_t>(log_sent_, 0);
  most_log_bytes_ = is_first() ? most_log_bytes : 0;
  is_start_reported_ = false;
  send_remote_end();
  if (remotes_) remotes_->send_again();
  if (has_ended() || !command_.was_started()) return;
  try {
    apply_limit();
  } catch (const Error& e) {
    parts_.say(e.what());
  }
}

void Run::fall_to_safe() {
  record_.limit_watts = limit_watts(true);
  remember();
}

Ending could_not_start(const std::exception& error) {
  StartFault fault = StartFault::kNode;
  if (const auto* known = dynamic_cast<const Error*>(&error)) {
    const bool is_from_elsewhere =
        known->code() == ErrorCode::kCommunication || known->code() == ErrorCode::kFormat;
    if (is_from_elsewhere) fault = StartFault::kElsewhere;
    if (known->code() == ErrorCode::kConfig) fault = StartFault::kNone;
  }
  return {127, 0, boot_seconds(), error.what(), fault};
}

std::string run_folder(const Settings& settings, int64_t token) {
  return fmt::format("{}/runs/{}", settings.work_dir, token);
}

}  // namespace wattle::agent
