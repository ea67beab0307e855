#pragma once

#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <thread>

#include "scheduler/config/cluster_options.h"
#include "scheduler/daemon/agents/agent_hub.h"
#include "scheduler/daemon/change_log.h"
#include "scheduler/daemon/clock_watch.h"
#include "scheduler/daemon/journal/journalled_core.h"
#include "scheduler/daemon/keeping/job_logs.h"
#include "scheduler/daemon/keeping/refusals.h"
#include "scheduler/store/energy_reports.h"
#include "scheduler/store/file_store.h"

namespace wattle::scheduler {

/// What was last heard of a run, besides what the core knows.
struct RunReading {
  std::string metrics;  ///< the newest line of metrics.jsonl
  double tokens = 0;
};

/// The scheduler between its services: the core and its journal, the agents' streams, files and
/// logs. What the core decides is made durable and then sent; what agents say becomes events.
///
/// Members may be called from any thread.
class Daemon {
 public:
  using Clock = std::function<double()>;  ///< seconds since 1970

  /// Opens `state_dir`, goes on from its journal, and counts every node as lost until it registers
  /// again. Options that have changed count from now on; the cap of the file only for a new
  /// journal. Throws as Store and JournalledCore do; Error(kIo) if another daemon works in the
  /// folder. `clock` never goes back; `machine_clock`, which it follows, may (none: it is the
  /// same).
  Daemon(const ClusterOptions& options, const Clock& clock, const Clock& machine_clock = {});
  ~Daemon();

  JournalledCore& core() { return *core_; }
  const JournalledCore& core() const { return *core_; }
  AgentHub& agents() { return agents_; }
  FileStore& files() { return files_; }
  EnergyReports& reports() { return reports_; }
  JobLogs& logs() { return logs_; }
  const ClusterOptions& options() const { return options_; }
  double now() const { return core_->now(); }
  /// By how much that is later than the machine's clock.
  double clock_offset_seconds() const { return core_->now() - machine_clock_(); }

  /// The next epoch of a registration.
  int64_t next_epoch() { return ++last_epoch_; }
  void heard(Token token, const RunReading& reading);
  RunReading reading(Token token) const;
  /// Whether the disk has more room than the reserve.
  bool has_room() const;
  /// Throws Error(kIo) if the disk has less room than the reserve and what is to come, or the
  /// journal stands still, and CoreHalted: what users ask is then refused, so that what runs can
  /// still be recorded.
  void require_room(int64_t coming_bytes = 0) const;
  /// Writes who asked for what into the audit log, and waits until it is there if it shall.
  void audit(const std::string& who, const std::string& what, const std::string& outcome,
             JournalledCore::Wait wait = JournalledCore::Wait::kUntilDurable);
  /// Writes down that something was refused, without waiting; of one caller only so often.
  void note_refusal(const std::string& who, const std::string& what, const std::string& why);

  const ChangeLog& changes() const { return changes_; }
  /// Ends all waits and streams.
  void stop();
  bool is_stopping() const { return is_stopping_; }

 private:
  void carry_out(const Event& event, const std::vector<Decision>& decisions);
  void welcome(const NodeUp& event);
  std::set<JobId> jobs_of(const Event& event, const std::vector<Decision>& decisions) const;
  void keep_time();
  double pass_time();
  void keep_house();
  void drop_readings();
  void count_refusals();
  JournalledCore::Attachment audited(const std::string& change);
  std::string setting(const std::string& key);
  void take_options();
  void take_cap();

  ClusterOptions options_;
  Clock machine_clock_;
  int lock_ = -1;
  Store store_;
  EnergyReports reports_;
  FileStore files_;
  JobLogs logs_;
  AgentHub agents_;
  std::atomic<int64_t> last_epoch_{0};
  mutable std::mutex readings_mutex_;
  std::map<Token, RunReading> readings_;
  Refusals refusals_;
  ChangeLog changes_;
  std::atomic<bool> is_stopping_{false};
  std::unique_ptr<JournalledCore> core_;
  std::string round_fault_;  ///< of the timekeeper
  ClockWatch clock_watch_;   ///< the timekeeper's
  std::thread timekeeper_;
  std::thread housekeeper_;
};

}  // namespace wattle::scheduler
