#pragma once

#include <memory>
#include <set>
#include <string>

#include "scheduler/daemon/daemon.h"
#include "scheduler/rpc/agent.pb.h"

namespace wattle::scheduler {

/// What one registered agent says, turned into events of the core. One thread.
class AgentStream {
 public:
  /// Registers the node: the outbox then holds a Registered, and the commands that follow. Throws
  /// Refusal if the core doesn't take it: kUnavailable if that may change, after some waiting.
  AgentStream(Daemon& daemon, const v1::Registration& registration, std::shared_ptr<Outbox> outbox);
  /// The node counts as lost, unless a newer registration of its was taken.
  ~AgentStream();

  void take(const v1::AgentMessage& message);

 private:
  void join(const v1::Registration& registration);
  /// "" or why it has to wait. Throws Refusal.
  std::string try_to_join(const v1::Registration& registration);
  void handle(const v1::AgentMessage& message);
  /// Whether the node has a say about the run.
  bool may_report(Token token) const;
  /// The same; writes down that it has none.
  bool takes_report(Token token);
  void heartbeat(const v1::Heartbeat& message);
  void started(const v1::RunStarted& message);
  void measured(const v1::Measured& message);
  void exited(const v1::RunExited& message);
  void power(const v1::PowerSample& message);
  void log(const v1::LogChunk& message);
  void remote_start(v1::RemoteStart message);
  void remote_result(v1::RemoteResult message);
  /// Energy totals of this node's share of a run, for the same transaction as the event.
  template <class Message>
  void book(const Message& message, double tokens, const State& state, StoreBatch& batch) const;
  template <class Message>
  JournalledCore::Attachment accounts_of(const Message& message) const;
  JournalledCore::Attachment accounts_of_runs(const v1::Registration& registration) const;
  bool holds(Token token, const std::string& node) const;

  Daemon& daemon_;
  std::string node_;
  int64_t epoch_ = 0;
  int64_t taken_ = 0;          ///< messages
  std::set<JobId> lost_logs_;  ///< of these jobs it was said that they can't be written
  std::shared_ptr<Outbox> outbox_;
};

}  // namespace wattle::scheduler
