#pragma once

#include <atomic>
#include <functional>
#include <future>
#include <limits>
#include <map>
#include <memory>
#include <string>

#include "scheduler/agent/files/checkpoint_store.h"
#include "scheduler/agent/files/tails.h"
#include "scheduler/agent/power/governor.h"
#include "scheduler/agent/power/lease_file.h"
#include "scheduler/agent/processes/kept_command.h"
#include "scheduler/agent/runs/remotes.h"
#include "scheduler/agent/runs/run_record.h"
#include "scheduler/agent/runs/stopper.h"

namespace wattle::agent {

/// What all runs of an agent share. Outlives them.
struct RunParts {
  const Settings& settings;
  const std::map<std::string, MeterInfo>& meters;
  const FileTransfer& transfer;
  std::function<Lease()> lease;
  /// Sends to the daemon, or drops it while there is no registration.
  std::function<void(v1::AgentMessage)> send;
  /// Whether there is a registration, and fewer messages than this wait to be sent.
  std::function<bool(size_t most)> has_room;
  std::function<void(const std::string&)> say;  ///< the agent's log
};

/// This node's share of one run, from the launch until the daemon has recorded its end. On the
/// run's first node it is mpirun with its ranks; on the others it waits for mpirun's daemon.
///
/// What happens: files are fetched (in the background) → a keeper starts the command → it runs, is
/// measured and limited → it has ended, by itself or stopped → its checkpoint is stored (in the
/// background) → `has_ended()`. Everything promised is on disk before it is done, so that an agent
/// that is started again goes on from any point.
///
/// Not thread-safe; `tick()` is called about ten times a second and moves everything.
class Run {
 public:
  /// Of a launch (its folder and record are on disk already), or of an agent before this one.
  /// Throws Error(kConfig) if the launch asks for what this node does not have.
  Run(const RunParts& parts, std::string folder, RunRecord record);
  /// Its files may be on their way still: they are given up.
  ~Run() { gives_up_ = true; }

  /// Throws nothing: what goes wrong ends this run, and no other.
  void tick(const Readings& readings, bool is_cut_off);

  /// Everything but launches. Whether a limit is in force now (or a newer one): only then it is to
  /// be acknowledged.
  bool obey(const v1::Command& command);

  /// What the daemon has to know in each reporting interval.
  void report();

  /// There is a registration: goes on with the log at `log_bytes`, of which the daemon keeps
  /// `most_log_bytes` (0: all), sends its requests again, sets its limit again.
  void registered(int64_t log_bytes, int64_t most_log_bytes);
  v1::HeldRun held(bool is_cut_off) const;
  /// The lease has run out: from now on its limit is the safe one. (The keeper lowers what runs.)
  void fall_to_safe();

  const RunRecord& record() const { return record_; }
  bool has_ended() const { return record_.exited.has_value(); }
  /// Its end may be told: all of its log has been.
  bool is_to_be_told() const { return has_ended() && is_log_sent_; }
  double watts() const { return energy_.watts(); }

 private:
  bool is_first() const { return record_.launch.hosts(0).node() == parts_.settings.node; }
  bool is_on_processors() const { return !devices_.front().is_gpu(); }
  bool is_stopping() const { return record_.stop_began > 0; }
  double limit_watts(bool is_cut_off) const;
  double most_watts() const;
  bool set_limit(double watts, int64_t sequence);
  void apply_limit();
  std::string joules_file() const;
  void renew_joules();
  void tell_keeper_of_joules();
  void stop(const std::string& reason);
  void kill();
  bool needs_door() const { return is_first() && record_.launch.hosts_size() > 1 && !remotes_; }
  void move(const Readings& readings, bool is_cut_off);
  std::string open_door();
  void watch_door();
  void serve_remote(const v1::RemoteStart& start);
  bool remember();

  KeeperOrder order(std::vector<std::string> argv) const;
  void start(std::vector<std::string> argv);
  bool is_prepared();
  void start_when_prepared();
  void report_start();
  void read_metrics();
  void account(const Readings& readings, bool is_cut_off);
  void account_end(const Readings& readings);
  void hold_back(double seconds, double joules, bool is_cut_off);
  void move_stop();
  bool send_log();
  void send_log_piece(const std::string& piece);
  std::string next_log_piece() const;
  void send_remote_end();
  void end(const Ending& ending);
  void finish();
  void close(v1::RunExited exited);
  void note_fault(const std::string& what);
  void give_up(const Readings& readings);
  v1::RunExited exit_of(const std::string& cause, StartFault fault) const;
  v1::RunExited exit_report(bool with_checkpoint) const;

  const RunParts& parts_;
  std::string folder_;
  RunRecord record_;
  double first_limit_watts_;                                      // that this agent knew of
  double lived_until_ = std::numeric_limits<double>::infinity();  // at most, without an agent
  std::vector<NodeDevice> devices_;
  std::optional<Account> account_;
  JobFiles files_;
  KeptCommand command_;
  RunEnergy energy_;
  MetricsTail metrics_;
  CheckpointStore checkpoints_;
  Stopper stopper_;
  Governor governor_;
  std::unique_ptr<LeaseFile> joules_;  // for the keeper
  std::string joules_fault_;           // that was told
  std::unique_ptr<Remotes> remotes_;
  std::atomic<bool> gives_up_ = false;            // what is being prepared
  std::future<std::optional<Ending>> preparing_;  // none, or why it failed
  std::optional<Ending> ending_;
  std::string fault_;  // why it can't go on; "" = it can
  double store_until_ = 0;
  bool is_end_booked_ = false;
  bool is_frozen_, has_told_of_vain_ = false;
  bool is_start_reported_ = false, has_new_checkpoint_ = false, is_log_sent_ = false;
  double metrics_at_ = 0, reported_at_ = 0, reported_joules_ = 0;
  int64_t log_sent_ = -1;  // -1: no registration yet
  int64_t most_log_bytes_ = 0;
};

/// The end of a run that an exception kept from starting. Wrong launches (kConfig) are the job's
/// fault, what the daemon does not give is nobody's here, everything else is the node's.
Ending could_not_start(const std::exception& error);

/// The agent's folder of a run.
std::string run_folder(const Settings& settings, int64_t token);

}  // namespace wattle::agent
