#pragma once

#include <condition_variable>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "scheduler/agent/files/file_transfer.h"
#include "scheduler/agent/link/daemon_link.h"
#include "scheduler/agent/power/lease_file.h"
#include "scheduler/agent/power/node_energy.h"
#include "scheduler/agent/power/node_meter.h"
#include "scheduler/agent/runs/run.h"
#include "scheduler/agent/settings.h"

namespace wattle::agent {

/// The agent of one node: holds the stream to the daemon and this node's shares of runs, and keeps
/// what scheduler/core/power/cap_ledger.h asks of agents. All decisions are made in one thread, the
/// one that calls `run()`.
class Agent {
 public:
  /// Takes over the runs of an agent before it, and ends what is nobody's. Throws Error(kIo) if the
  /// folder can't be used, Error(kConfig) if another agent uses it.
  Agent(Settings settings, NodeMeter& meter, std::shared_ptr<grpc::Channel> channel);
  ~Agent();
  Agent(const Agent&) = delete;
  Agent& operator=(const Agent&) = delete;

  /// Works until stop(). Runs go on when it returns, for the next agent, as long as the lease does.
  void run();
  /// May be called from any thread.
  void stop();

 private:
  /// What the daemon said when it took the registration.
  struct Terms {
    double lease_seconds = 0, orphan_grace_seconds = 0, heartbeat_seconds = 1, report_seconds = 1;
    int64_t log_bytes = 0;
  };

  void lock_folder();
  void adopt_runs();
  void adopt(const std::string& folder);
  void end_orphans() const;

  void handle(const LinkEvent& event);
  void register_node(int64_t stream);
  void handle(const v1::Command& command);
  void registered(const v1::Registered& registered);
  void renew(double sent);
  void launch(const v1::Launch& launch);
  std::string reason_against(const v1::Launch& launch) const;
  void refuse(int64_t token, const Ending& ending);
  void refuse(const v1::RemoteStart& start);
  void recorded(int64_t token);
  void note_sequence(int device, int64_t sequence);

  void tick();
  void watch_lease(double now);
  void send_regular(double now);
  void send_ends();
  std::vector<RunDraw> draws() const;
  void send(v1::AgentMessage message);
  void acknowledge(int64_t sequence);
  bool is_cut_off() const;

  Settings settings_;
  NodeMeter& meter_;
  FileTransfer transfer_;
  RunParts parts_;
  std::unique_ptr<LeaseFile> lease_;
  int lock_fd_ = -1;
  std::string work_dir_id_;
  std::string instance_id_;
  std::map<int64_t, std::unique_ptr<Run>> runs_;
  std::map<int64_t, v1::RunExited> refused_;  // launches that could not even begin
  std::vector<int64_t> newest_sequence_;      // by device
  NodeEnergy energy_;

  int64_t stream_ = 0;  // 0 = none
  bool is_registered_ = false, was_cut_off_ = false;
  Terms terms_;
  double opened_at_ = 0, registration_sent_ = 0;
  int64_t heartbeat_ = 0;
  std::map<int64_t, double> heartbeats_sent_;
  double heartbeat_at_ = 0, report_at_ = 0;
  std::string last_break_;

  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<LinkEvent> events_;
  bool is_stopping_ = false;
  std::unique_ptr<DaemonLink> link_;  // last: its threads call this object
};

}  // namespace wattle::agent
