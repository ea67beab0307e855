#include "scheduler/daemon/daemon.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <spdlog/spdlog.h>
#include <sys/file.h>
#include <unistd.h>

#include <filesystem>

#include "common/error.h"
#include "common/quantity.h"
#include "scheduler/core/engine/state.h"
#include "scheduler/core/journal/journal.h"
#include "scheduler/daemon/agents/commands.h"
#include "scheduler/daemon/journal/rounds.h"
#include "scheduler/daemon/keeping/housekeeping.h"
#include "scheduler/digest/random_id.h"

namespace wattle::scheduler {
namespace {

/// Time passes for the core at least this often, and soon after whatever happens.
constexpr double kTickSeconds = 0.5;
constexpr double kHousekeepingSeconds = 5;
/// An agent that has sent none for so many heartbeats gives way to another of its name.
constexpr double kSilentBeats = 2;
/// A setting of the store.
constexpr const char* kStateId = "state_id";

CoreOptions core_options(const ClusterOptions& options) {
  CoreOptions core;
  core.cap_watts = options.cap_watts;
  using Name = ClusterPolicyOptions::Name;
  core.policy.name = options.policy.name == Name::kFifo       ? "fifo"
                     : options.policy.name == Name::kBackfill ? "backfill"
                                                              : "energy";
  core.policy.eta = options.policy.eta;
  core.policy.reserve_after_seconds = options.policy.reserve_after_seconds;
  core.lease_seconds = options.lease_seconds;
  core.orphan_grace_seconds = options.orphan_grace_seconds;
  core.history_seconds = options.history_days * 86400;
  core.history_bytes = options.history_megabytes * 1'000'000;
  return core;
}

JournalLimits journal_limits(const ClusterOptions& options) {
  return {options.journal.snapshot_events, options.journal.keep_days * 86400};
}

Configured configured(const CoreOptions& core) {
  return {core.policy.name,
          core.policy.eta,
          core.lease_seconds,
          core.orphan_grace_seconds,
          core.history_seconds,
          core.history_bytes,
          core.policy.reserve_after_seconds};
}

/// Throws Error(kConfig) that begins with `key` if what it says was refused.
void require_taken(const std::vector<Decision>& decisions, const std::string& subject,
                   const std::string& key) {
  for (const Decision& decision : decisions) {
    const auto* refused = std::get_if<Refused>(&decision);
    if (!refused || refused->what != subject) continue;
    throw Error(ErrorCode::kConfig, fmt::format("{}: {}", key, refused->why));
  }
}

std::string below(const std::string& folder, const char* name) { return folder + "/" + name; }

int lock_folder(const std::string& folder) {
  std::filesystem::create_directories(folder);
  const std::string path = below(folder, "lock");
  const int lock = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (lock < 0 || flock(lock, LOCK_EX | LOCK_NB) != 0) {
    if (lock >= 0) close(lock);
    throw Error(ErrorCode::kIo, fmt::format("{}: another daemon works in this folder, or the file "
                                            "can't be made",
                                            path));
  }
  return lock;
}

/// Jobs of another state_dir, which may have the same numbers, are told by it.
void choose_state_id(Store& store) {
  if (store.setting(kStateId).empty()) store.set_setting(kStateId, random_id());
}

}  // namespace

Daemon::Daemon(const ClusterOptions& options, const Clock& clock, const Clock& machine_clock)
    : options_(options),
      machine_clock_(machine_clock ? machine_clock : clock),
      lock_(lock_folder(options.state_dir)),
      store_(below(options.state_dir, "wattle.db")),
      reports_(below(options.state_dir, "wattle.db")),
      files_(below(options.state_dir, "files")),
      logs_(below(options.state_dir, "logs"), options.log_bytes_per_run),
      agents_(std::chrono::duration<double>(kSilentBeats * options.heartbeat_seconds),
              options.report_seconds) {
  choose_state_id(store_);
  core_ = std::make_unique<JournalledCore>(
      store_, core_options(options), journal_limits(options), clock,
      [this](const Event& event, const std::vector<Decision>& decisions) {
        carry_out(event, decisions);
      });
  core_->read([&](const Core& core) {
    for (const Node& node : core.state().nodes) {
      last_epoch_ = std::max<int64_t>(last_epoch_, node.epoch);
    }
  });
  core_->apply(Restarted{});
  take_options();
  timekeeper_ = std::thread([this] { keep_time(); });
  housekeeper_ = std::thread([this] { keep_house(); });
}

/// The record of what cluster.yaml changes, unless that is refused.
JournalledCore::Attachment Daemon::audited(const std::string& change) {
  return [record = AuditRecord{now(), "wattled", "options", change}](
             const std::vector<Decision>& decided, const State&, StoreBatch& batch) {
    const auto is_refused = [](const Decision& d) { return std::holds_alternative<Refused>(d); };
    if (std::ranges::any_of(decided, is_refused)) return;
    spdlog::info("cluster.yaml: {}", record.outcome);
    batch.audit.push_back(record);
  };
}

std::string Daemon::setting(const std::string& key) {
  return core_->read_store([&](Store& store) { return store.setting(key); });
}

/// What the file says anew since the last start.
void Daemon::take_options() {
  const Configured now = configured(core_options(options_));
  const Configured before =
      core_->read([](const Core& core) { return configured(core.state().options); });
  if (now != before) {
    core_->apply(now, audited(to_line(Event{this->now(), now})));
  }
  take_cap();
  for (size_t i = 0; i < options_.tenants.size(); ++i) {
    const ClusterTenantOptions& tenant = options_.tenants[i];
    BudgetSet event{tenant.name, std::nullopt,
                    duration_seconds(tenant.period).value_or(30 * 86400.0), tenant.weight};
    if (tenant.budget_kwh) event.joules = *tenant.budget_kwh * 3.6e6;
    const std::string key = "tenant." + tenant.name;
    const std::string text =
        fmt::format("{} {} {}", event.joules.value_or(-1), event.period_seconds, event.weight);
    if (setting(key) == text) continue;
    require_taken(core_->apply(event, audited(to_line(Event{this->now(), event}))), tenant.name,
                  options_.named(fmt::format("tenants.{}", i)));
    core_->read_store([&](Store& store) { store.set_setting(key, text); });
  }
}

/// Like a tenant's budget, the cap of the file counts anew when it has changed there.
void Daemon::take_cap() {
  const std::string text = fmt::format("{}", options_.cap_watts);
  const std::string before = setting("cap_watts");
  if (before == text) return;
  if (!before.empty()) {
    require_taken(core_->apply(CapSet{"cluster.yaml", options_.cap_watts, CapTier::kHard, {}, {}},
                               audited(fmt::format("cap_watts {}", text))),
                  "cluster.yaml", options_.named("cap_watts"));
  }
  core_->read_store([&](Store& store) { store.set_setting("cap_watts", text); });
}

Daemon::~Daemon() {
  stop();
  timekeeper_.join();
  housekeeper_.join();
  core_.reset();
  close(lock_);
}

void Daemon::stop() {
  is_stopping_ = true;
  core_->end_patience();
  agents_.close();
  changes_.close();
}

void Daemon::keep_time() {
  int64_t seen = 0;
  while (!is_stopping_) {
    clock_watch_.look(clock_offset_seconds());
    changes_.rest(pass_time());
    seen = changes_.wait(seen, kTickSeconds);
  }
}

/// A round that fails is tried again. If the core has halted, the program is about to end.
double Daemon::pass_time() {
  try {
    const double rest_seconds = run_round(*core_);
    round_fault_.clear();
    return rest_seconds;
  } catch (const std::exception& e) {
    if (round_fault_ != e.what()) spdlog::error("no plan is made: {}", e.what());
    round_fault_ = e.what();
    return kTickSeconds;
  }
}

void Daemon::keep_house() {
  Housekeeping housekeeping(*core_, files_, logs_, options_.history_days * 86400);
  while (!is_stopping_) {
    try {
      count_refusals();
      housekeeping.run();
      drop_readings();
    } catch (const std::exception& e) {
      spdlog::error("what is not needed any more can't be removed: {}", e.what());
    }
    changes_.rest(kHousekeepingSeconds);
  }
}

/// Of runs that are forgotten.
void Daemon::drop_readings() {
  core_->read([this](const Core& core) {
    const std::lock_guard lock(readings_mutex_);
    std::erase_if(readings_, [&](const auto& reading) {
      return !core.state().owner_of_token.contains(reading.first);
    });
  });
}

/// The registration is taken: the first thing that the agent hears, before commands for its runs.
void Daemon::welcome(const NodeUp& event) {
  v1::Command command;
  v1::Registered& registered = *command.mutable_registered();
  registered.set_epoch(event.epoch);
  registered.set_lease_seconds(options_.lease_seconds);
  registered.set_orphan_grace_seconds(options_.orphan_grace_seconds);
  registered.set_heartbeat_seconds(options_.heartbeat_seconds);
  registered.set_report_seconds(options_.report_seconds);
  registered.set_log_bytes(options_.log_bytes_per_run);
  for (const HeldRun& held : event.runs) {
    const JobId job = core_->read([&](const Core& core) {
      const auto& jobs = core.state().owner_of_token;
      const auto found = jobs.find(held.token);
      return found == jobs.end() ? JobId{0} : found->second;
    });
    v1::Registered::LogPosition& position = *registered.add_logs();
    position.set_token(held.token);
    position.set_bytes(logs_.size(job, held.token));
  }
  agents_.send(event.node, command);
}

void Daemon::carry_out(const Event& event, const std::vector<Decision>& decisions) {
  const auto* up = std::get_if<NodeUp>(&event.body);
  if (up && !answer_to(*up, decisions)) welcome(*up);
  for (const Decision& decision : decisions) {
    std::vector<Addressed> commands;
    if (const auto* start = std::get_if<Start>(&decision)) {
      LaunchParts parts;
      core_->read([&](const Core& core) {
        const Job& job = core.state().jobs.at(start->job);
        parts.request = job.submit_id;
        parts.name = job.request.name;
        parts.tenant = job.request.tenant;
        parts.overrides = job.request.overrides;
      });
      core_->read_store([&](Store& store) {
        parts.submission = store.submission(parts.request).value_or(Submission{});
        parts.checkpoint = store.checkpoint_of(start->job);
        parts.request = fmt::format("{} {}", store.setting(kStateId), parts.request);
      });
      commands = launch_commands(*start, parts);
    } else {
      commands = commands_of(decision);
    }
    for (const Addressed& addressed : commands) agents_.send(addressed.node, addressed.command);
  }
  if (const auto* exited = std::get_if<JobExited>(&event.body)) {
    v1::Command command;
    command.mutable_exit_recorded()->set_token(exited->token);
    agents_.send(exited->node, command);
  }
  if (decisions.empty() && std::holds_alternative<Tick>(event.body)) return;
  changes_.add(jobs_of(event, decisions));
}

/// Those of which there may be something new to say.
std::set<JobId> Daemon::jobs_of(const Event& event, const std::vector<Decision>& decisions) const {
  std::set<JobId> jobs;
  for (const Decision& decision : decisions) {
    std::visit(
        [&](const auto& d) {
          if constexpr (requires { d.job; }) jobs.insert(d.job);
        },
        decision);
  }
  std::set<Token> tokens;
  std::visit(
      [&](const auto& e) {
        if constexpr (requires {
                        e.epoch;
                        e.token;
                      })
          tokens.insert(e.token);
      },
      event.body);
  if (const auto* up = std::get_if<NodeUp>(&event.body)) {
    for (const HeldRun& held : up->runs) tokens.insert(held.token);
  }
  if (tokens.empty()) return jobs;
  core_->read([&](const Core& core) {
    for (const Token token : tokens) {
      const auto owner = core.state().owner_of_token.find(token);
      if (owner != core.state().owner_of_token.end()) jobs.insert(owner->second);
    }
  });
  return jobs;
}

void Daemon::heard(Token token, const RunReading& reading) {
  const std::lock_guard lock(readings_mutex_);
  readings_[token] = reading;
}

RunReading Daemon::reading(Token token) const {
  const std::lock_guard lock(readings_mutex_);
  auto found = readings_.find(token);
  return found == readings_.end() ? RunReading{} : found->second;
}

bool Daemon::has_room() const {
  std::error_code unknown;
  const auto space = std::filesystem::space(options_.state_dir, unknown);
  return unknown || space.available >= static_cast<uintmax_t>(options_.reserve_bytes);
}

void Daemon::require_room(int64_t coming_bytes) const {
  core_->require_running();
  if (std::string fault = core_->store_fault(); !fault.empty()) {
    throw Error(ErrorCode::kIo, "the daemon's journal can't be written: " + fault);
  }
  std::error_code unknown;
  const auto space = std::filesystem::space(options_.state_dir, unknown);
  if (unknown) return;
  const auto needed = static_cast<uintmax_t>(options_.reserve_bytes + coming_bytes);
  if (space.available >= needed) return;
  throw Error(ErrorCode::kIo,
              fmt::format("the disk of the daemon is nearly full: {} bytes of space are left, {} "
                          "are kept free{}",
                          space.available, options_.reserve_bytes,
                          coming_bytes > 0 ? fmt::format(", {} were to come", coming_bytes) : ""));
}

void Daemon::audit(const std::string& who, const std::string& what, const std::string& outcome,
                   JournalledCore::Wait wait) {
  spdlog::info("{}: {}: {}", who, what, outcome);
  StoreBatch batch;
  batch.audit.push_back({now(), who, what, outcome});
  core_->record(std::move(batch), wait);
}

void Daemon::note_refusal(const std::string& who, const std::string& what, const std::string& why) {
  // The disk may be the very reason: nobody waits for it, and nothing piles up for it.
  if (!core_->store_fault().empty() || !refusals_.take(who, now())) return;
  audit(who, what, "refused: " + why, JournalledCore::Wait::kNot);
}

void Daemon::count_refusals() {
  for (const auto& [who, left_out] : refusals_.left_out(now())) {
    if (!core_->store_fault().empty()) continue;
    audit(who, "refusals", fmt::format("{} more within a minute are left out here", left_out),
          JournalledCore::Wait::kNot);
  }
}

}  // namespace wattle::scheduler
