#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstring>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "common/error.h"
#include "common/text.h"
#include "scheduler/agent/files/log_cause.h"
#include "scheduler/agent/runs/run.h"

/// What a run tells the daemon.
namespace wattle::agent {
namespace {

constexpr size_t kLogBytes = 64 << 10;
/// Pieces of logs that may wait to be sent. The devices of a run that has ended are free when its
/// log is sent; but heartbeats come behind what waits.
constexpr size_t kMostWaiting = 32;
/// A disk with less is full.
constexpr uintmax_t kLeastRoomBytes = 16 << 20;
constexpr const char* kDiskIsFull = "No space left on the disk of the jobs' folders";
constexpr size_t kLongestCauseFile = 64 << 10;

/// The first cause, as the trainer has noted it; "" if there is none. The file is the user's:
/// anything may lie there.
std::string first_cause(const JobFiles& files, const std::optional<Account>& account) {
  const AsUser as_user(account);
  const std::string path = files.output_dir + "/error.json";
  std::error_code error;
  if (!std::filesystem::is_regular_file(path, error)) return "";
  const std::string text = read_piece(path, 0, kLongestCauseFile);
  const auto cause = nlohmann::json::parse(text, nullptr, false);
  if (!cause.is_object() || !cause.contains("message")) return "";
  const auto& message = cause.at("message");
  return message.is_string() ? message.get<std::string>() : "";
}

/// A job whose trainer failed for want of room goes on elsewhere, or when there is some. The node
/// is at fault only where its disk is seen to be full: what the job says of it, anyone can write.
StartFault fault_of_disk(const JobFiles& files, const std::string& cause) {
  std::error_code unknown;
  const auto space = std::filesystem::space(files.folder, unknown);
  if (!unknown && space.available < kLeastRoomBytes) return StartFault::kNode;
  const bool wants_room = cause.find(std::strerror(ENOSPC)) != std::string::npos;
  return wants_room ? StartFault::kElsewhere : StartFault::kNone;
}

template <class Parts>
void add_energy(const EnergyRecord& energy, Parts& parts) {
  for (const auto& [source, joules] : energy.joules) {
    v1::SourceJoules& part = *parts.Add();
    part.set_source(source);
    part.set_joules(joules);
  }
}

}  // namespace

void Run::report_start() {
  if (is_start_reported_ || !is_first() || log_sent_ < 0 || !command_.command()) return;
  is_start_reported_ = true;
  v1::AgentMessage message;
  message.mutable_run_started()->set_token(record_.launch.token());
  parts_.send(std::move(message));
}

double Run::most_watts() const {
  return std::max(first_limit_watts_, record_.limit_watts) * static_cast<double>(devices_.size());
}

/// Where nobody has seen the end, the keeper, too, was killed, and no run outlives its lease. It is
/// noted, for an agent that is started meanwhile has another lease.
void Run::account_end(const Readings& readings) {
  if (std::exchange(is_end_booked_, true)) return energy_.rest();
  if (!ending_->cpu_seconds) {
    ending_->ended = std::min(ending_->ended, lived_until_);
    try {
      command_.note_ending(*ending_);
    } catch (const Error& e) {
      parts_.say(e.what());
    }
  }
  energy_.book_end(readings, ending_->cpu_seconds, ending_->ended, most_watts());
}

v1::RunExited Run::exit_of(const std::string& cause, StartFault fault) const {
  v1::RunExited exited;
  exited.set_token(record_.launch.token());
  exited.set_exit_code(ending_->exit_code);
  exited.set_joules(energy_.joules());
  add_energy(energy_.record(), *exited.mutable_energy());
  exited.set_tokens(is_first() ? metrics_.progress().tokens : 0);
  exited.set_blameless(fault != StartFault::kNone);
  exited.set_node_at_fault(fault == StartFault::kNode);
  exited.set_error(cut(cause, kLongestCause));
  return exited;
}

v1::RunExited Run::exit_report(bool with_checkpoint) const {
  const int exit_code = ending_->exit_code;
  std::string cause = ending_->error;
  if (cause.empty() && is_first() && exit_code != kExitDone && exit_code != kExitStopped) {
    cause = first_cause(files_, account_);
    // What keeps the trainer from its folder, or a rank from a word, stands in no such file.
    if (cause.empty()) cause = cause_in_log_file(folder_ + "/log", exit_code);
  }
  const StartFault fault = ending_->fault != StartFault::kNone || exit_code != kExitFailed
                               ? ending_->fault
                               : fault_of_disk(files_, cause);
  // A node's fault is told to all tenants: a job's words are for its own.
  if (ending_->fault == StartFault::kNone && fault == StartFault::kNode) cause = kDiskIsFull;
  if (const std::string& failure = checkpoints_.failure(); with_checkpoint && !failure.empty()) {
    parts_.say(fmt::format("run {}: {}", record_.launch.token(), failure));
    if (cause.empty()) cause = failure;
  }
  v1::RunExited exited = exit_of(cause, fault);
  if (with_checkpoint) {
    for (const v1::FileRef& file : checkpoints_.stored()) *exited.add_checkpoint() = file;
  }
  return exited;
}

void Run::note_fault(const std::string& what) {
  if (!fault_.empty()) return;
  fault_ = what.empty() ? "unknown" : what;
  gives_up_ = true;
  parts_.say(fmt::format("run {}: can't go on and is ended: {}", record_.launch.token(), fault_));
}

/// Ends a run that can't go on, without a look at the job's files. It is neither the job's fault
/// nor surely the node's.
void Run::give_up(const Readings& readings) {
  if (!ending_ && command_.was_started()) {
    command_.kill();
    try {
      ending_ = command_.ending();
    } catch (const std::exception&) {  // its notes are what is broken
      if (command_.keeper() && is_running(*command_.keeper())) return;
      ending_ = Ending{128 + SIGKILL, std::nullopt, boot_seconds(), ""};
    }
    if (!ending_) return;
    ending_->fault = StartFault::kElsewhere;
  }
  if (!ending_) ending_ = Ending{127, 0, boot_seconds(), "", StartFault::kElsewhere};
  const bool is_preparing = preparing_.valid() && preparing_.wait_for(std::chrono::seconds(0)) !=
                                                      std::future_status::ready;
  if (is_preparing) return;
  account_end(readings);
  checkpoints_.give_up();
  checkpoints_.poll();
  if (checkpoints_.is_busy()) return;
  close(exit_of(fault_, ending_->fault));
}

void Run::send_remote_end() {
  if (!record_.remote_request || !has_ended()) return;
  v1::AgentMessage message;
  v1::RemoteResult& result = *message.mutable_remote_result();
  result.set_token(record_.launch.token());
  result.set_request(*record_.remote_request);
  result.set_node(record_.remote_from);
  result.set_ended(true);
  result.set_exit_code(record_.exited->exit_code());
  parts_.send(std::move(message));
}

v1::HeldRun Run::held(bool is_cut_off) const {
  v1::HeldRun held;
  held.set_token(record_.launch.token());
  if (has_ended()) {  // nothing of it draws any more
    held.set_limit_watts(devices_.front().idle_watts);
    held.set_joules(record_.exited->joules());
    *held.mutable_energy() = record_.exited->energy();
    return held;
  }
  *held.mutable_devices() = record_.launch.devices();
  held.set_limit_watts(limit_watts(is_cut_off));
  held.set_joules(energy_.joules());
  add_energy(energy_.record(), *held.mutable_energy());
  return held;
}

void Run::report() {
  if (has_ended()) return;
  v1::AgentMessage message;
  v1::Measured& measured = *message.mutable_measured();
  measured.set_token(record_.launch.token());
  measured.set_limit_watts(record_.limit_watts);
  measured.set_joules(energy_.joules());
  measured.set_watts(reported_at_ > 0 && energy_.record().at > reported_at_
                         ? (energy_.joules() - reported_joules_) /
                               (energy_.record().at - reported_at_)
                         : energy_.watts());
  reported_at_ = energy_.record().at;
  reported_joules_ = energy_.joules();
  add_energy(energy_.record(), *measured.mutable_energy());
  if (is_first()) {
    const Progress progress = metrics_.progress();
    if (progress.units) measured.set_units(*progress.units);
    if (progress.units_per_second) measured.set_units_per_second(*progress.units_per_second);
    measured.set_tokens(progress.tokens);
    measured.set_metrics(progress.newest_line);
    metrics_.mark();
  }
  if (std::exchange(has_new_checkpoint_, false)) {
    for (const v1::FileRef& file : checkpoints_.stored()) *measured.add_checkpoint() = file;
  }
  remember();
  parts_.send(std::move(message));
}

/// Sends the next piece, or as much as the stream takes when nothing comes any more; whether there
/// may be more.
bool Run::send_log() {
  if (log_sent_ < 0) return false;
  const bool is_over = ending_ || has_ended();
  do {
    const std::string piece = next_log_piece();
    if (piece.empty()) return false;
    if (!parts_.has_room(kMostWaiting)) return true;
    send_log_piece(piece);
  } while (is_over);
  return true;
}

/// Empty where there is nothing more that the daemon would keep.
std::string Run::next_log_piece() const {
  size_t most = kLogBytes;
  if (most_log_bytes_ > 0) {
    const int64_t wanted = most_log_bytes_ + 1 - log_sent_;  // one tells that there was more
    most = static_cast<size_t>(std::clamp<int64_t>(wanted, 0, kLogBytes));
  }
  return read_piece(folder_ + "/log", log_sent_, most);
}

void Run::send_log_piece(const std::string& piece) {
  v1::AgentMessage message;
  if (is_first()) {
    v1::LogChunk& chunk = *message.mutable_log_chunk();
    chunk.set_token(record_.launch.token());
    chunk.set_offset(log_sent_);
    chunk.set_data(piece);
  } else {
    v1::RemoteResult& result = *message.mutable_remote_result();
    result.set_token(record_.launch.token());
    result.set_request(record_.remote_request.value_or(0));
    result.set_node(record_.remote_from);
    result.set_output(piece);
  }
  parts_.send(std::move(message));
  log_sent_ += static_cast<int64_t>(piece.size());
}

}  // namespace wattle::agent
