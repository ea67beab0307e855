#include "scheduler/daemon/services/agent_stream.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <chrono>
#include <thread>

#include "common/text.h"
#include "scheduler/core/engine/state.h"
#include "scheduler/daemon/agents/commands.h"
#include "scheduler/daemon/services/calls/agent_message.h"
#include "scheduler/daemon/services/calls/caller.h"

namespace wattle::scheduler {
namespace {

constexpr size_t kMostCauseBytes = 500;
constexpr double kMostPatienceSeconds = 2;
constexpr std::chrono::milliseconds kJoinPause{50};
/// Of messages that are not durable yet.
constexpr int kMostAhead = 64;

NodeUp event_of(const v1::Registration& registration, int64_t epoch) {
  NodeUp event;
  event.node = registration.node();
  event.epoch = epoch;
  event.shares_jobs_dir = registration.shares_jobs_dir();
  event.work_dir_id = registration.work_dir_id();
  event.boot_id = registration.boot_id();
  for (const v1::DeviceGroup& group : registration.devices()) {
    event.groups.push_back(
        {{group.type(), group.idle_watts(), group.min_limit_watts(), group.max_limit_watts()},
         group.count(),
         group.safe_watts()});
  }
  for (const v1::HeldRun& run : registration.runs()) {
    // What has ended holds nothing any more; its end is told as an event of its own.
    event.runs.push_back({run.token(),
                          {run.devices().begin(), run.devices().end()},
                          run.limit_watts(),
                          run.joules()});
  }
  return event;
}

/// The job that a token belongs or belonged to; nullptr if there is none.
const Job* job_of(const State& state, Token token) {
  const auto found = state.owner_of_token.find(token);
  return found == state.owner_of_token.end() ? nullptr : &state.jobs.at(found->second);
}

std::vector<StoredFile> files_of(const google::protobuf::RepeatedPtrField<v1::FileRef>& refs) {
  std::vector<StoredFile> files;
  for (const v1::FileRef& ref : refs) files.push_back({ref.path(), ref.sha256(), ref.size_bytes()});
  return files;
}

}  // namespace

AgentStream::AgentStream(Daemon& daemon, const v1::Registration& registration,
                         std::shared_ptr<Outbox> outbox)
    : daemon_(daemon), node_(registration.node()), outbox_(std::move(outbox)) {
  join(registration);
  for (const v1::HeldRun& run : registration.runs()) {
    if (run.has_exited()) exited(run.exited());
  }
}

/// What it has to wait for is often there within moments: it need not come again for that. Not for
/// long: the lease that it is given counts from when it registered.
void AgentStream::join(const v1::Registration& registration) {
  using Clock = std::chrono::steady_clock;
  const double patience = std::min(kMostPatienceSeconds, daemon_.options().lease_seconds / 3);
  const auto until = Clock::now() + std::chrono::duration<double>(patience);
  std::string why = try_to_join(registration);
  while (!why.empty() && Clock::now() < until && !daemon_.is_stopping()) {
    std::this_thread::sleep_for(kJoinPause);
    const std::string still = daemon_.core().read(
        [&](const Core& core) { return must_wait(core.state(), event_of(registration, 0)); });
    if (still.empty()) why = try_to_join(registration);
  }
  if (!why.empty()) {
    throw Refusal(RefusalCode::kUnavailable, fmt::format("node {}: {}", node_, why));
  }
}

std::string AgentStream::try_to_join(const v1::Registration& registration) {
  if (const std::string fault = daemon_.core().store_fault(); !fault.empty()) {
    throw Refusal(RefusalCode::kUnavailable, "nothing can be recorded: " + fault);
  }
  if (!daemon_.agents().attach(node_, registration.instance_id(), outbox_)) {
    return "another agent of this name is connected and alive: it has to end, or to fall silent, "
           "first";
  }
  epoch_ = daemon_.next_epoch();
  const NodeUp event = event_of(registration, epoch_);
  const auto not_taken =
      answer_to(event, daemon_.core().apply(event, accounts_of_runs(registration)));
  if (!not_taken) return "";
  daemon_.agents().detach(node_, outbox_);
  outbox_->clear();  // it may be attached once more
  if (not_taken->is_for_good) {
    throw Refusal(RefusalCode::kPrecondition, fmt::format("node {}: {}", node_, not_taken->why));
  }
  return not_taken->why;
}

AgentStream::~AgentStream() {
  outbox_->close();
  daemon_.agents().detach(node_, outbox_);
  try {
    daemon_.core().post(NodeLost{node_, epoch_});  // nothing new where a newer stream is there
  } catch (const Error& e) {  // the daemon ends, and every node is lost to the next one
    spdlog::error("node {} is lost: {}", node_, e.what());
  }
}

void AgentStream::take(const v1::AgentMessage& message) {
  daemon_.agents().note_alive(node_, outbox_);
  require_sound(message);
  handle(message);
  // An agent that says more than can be written down waits: gRPC holds what it sends meanwhile.
  if (++taken_ % kMostAhead == 0) daemon_.core().catch_up();
}

void AgentStream::handle(const v1::AgentMessage& message) {
  switch (message.body_case()) {
    case v1::AgentMessage::kHeartbeat:
      return heartbeat(message.heartbeat());
    case v1::AgentMessage::kAcknowledged:
      return daemon_.core().post(
          LimitAcknowledged{node_, epoch_, message.acknowledged().sequence()});
    case v1::AgentMessage::kRunStarted:
      return started(message.run_started());
    case v1::AgentMessage::kRunExited:
      return exited(message.run_exited());
    case v1::AgentMessage::kMeasured:
      return measured(message.measured());
    case v1::AgentMessage::kPowerSample:
      return power(message.power_sample());
    case v1::AgentMessage::kLogChunk:
      return log(message.log_chunk());
    case v1::AgentMessage::kRemoteStart:
      return remote_start(message.remote_start());
    case v1::AgentMessage::kRemoteResult:
      return remote_result(message.remote_result());
    case v1::AgentMessage::kRegistration:
      throw Refusal(RefusalCode::kInvalid, "a second registration on one stream");
    case v1::AgentMessage::BODY_NOT_SET:
      throw Refusal(RefusalCode::kInvalid, "a message without a body");
  }
}

void AgentStream::heartbeat(const v1::Heartbeat& message) {
  // While nothing can be recorded, nobody's watts are renewed: the agents fall to their safe
  // limits.
  if (!daemon_.core().store_fault().empty()) return;
  v1::Command command;
  command.mutable_lease_renewal()->set_heartbeat(message.number());
  outbox_->put(command);
}

bool AgentStream::may_report(Token token) const {
  return daemon_.core().read(
      [&](const Core& core) { return scheduler::may_report(core.state(), token, node_); });
}

bool AgentStream::takes_report(Token token) {
  if (may_report(token)) return true;
  daemon_.note_refusal("node " + node_, "Attach",
                       fmt::format("a report of run {}, which this node does not hold", token));
  return false;
}

void AgentStream::started(const v1::RunStarted& message) {
  if (takes_report(message.token()))
    daemon_.core().post(JobStarted{node_, epoch_, message.token()});
}

/// What the core's ledger takes, and nothing else.
template <class Message>
void AgentStream::book(const Message& message, double tokens, const State& state,
                       StoreBatch& batch) const {
  const Job* job = job_of(state, message.token());
  if (!job || !live_node(state, node_, epoch_)) return;
  for (const v1::SourceJoules& part : message.energy()) {
    batch.energy.push_back({message.token(), job->id, job->request.tenant, node_, part.source(),
                            part.joules(), std::exchange(tokens, 0), day_text(state.now_seconds),
                            message.joules()});
  }
}

/// Nothing where the registration is not taken, for the node is then not this stream's.
JournalledCore::Attachment AgentStream::accounts_of_runs(
    const v1::Registration& registration) const {
  return [this, runs = registration.runs()](const std::vector<Decision>&, const State& state,
                                            StoreBatch& batch) {
    for (const v1::HeldRun& run : runs) {
      if (scheduler::may_report(state, run.token(), node_)) book(run, /*tokens=*/0, state, batch);
    }
  };
}

template <class Message>
JournalledCore::Attachment AgentStream::accounts_of(const Message& message) const {
  return [this, message](const std::vector<Decision>&, const State& state, StoreBatch& batch) {
    const Job* job = job_of(state, message.token());
    if (!job) return;
    book(message, message.tokens(), state, batch);
    if (message.checkpoint_size() > 0) {
      batch.checkpoints.push_back(
          {job->id, message.token(), files_of(message.checkpoint()), file_seconds()});
    }
  };
}

void AgentStream::measured(const v1::Measured& message) {
  if (!takes_report(message.token())) return;
  Measured event{node_,           epoch_,           message.token(), message.limit_watts(),
                 message.watts(), message.joules(), std::nullopt,    std::nullopt};
  if (message.has_units()) event.units = message.units();
  if (message.has_units_per_second()) event.units_per_second = message.units_per_second();
  daemon_.core().post(event, accounts_of(message));
  if (!message.metrics().empty())
    daemon_.heard(message.token(), {message.metrics(), message.tokens()});
}

/// One that was recorded already comes again until the agent hears of that: it is answered.
void AgentStream::exited(const v1::RunExited& message) {
  const bool may = may_report(message.token());
  daemon_.core().post(JobExited{node_, epoch_, message.token(), message.exit_code(),
                                message.joules(), message.blameless(), message.node_at_fault(),
                                brief(message.error(), kMostCauseBytes)},
                      may ? accounts_of(message) : JournalledCore::Attachment{});
}

void AgentStream::power(const v1::PowerSample& message) {
  NodeReading reading{message.watts(), message.source(), daemon_.now(), {}};
  for (const v1::PowerSample::Device& device : message.devices()) {
    reading.devices.push_back({device.watts(), device.source()});
  }
  daemon_.agents().heard(node_, reading);
  StoreBatch batch;
  for (const v1::SourceJoules& part : message.energy()) {
    batch.node_energy.push_back({node_, part.source(), part.joules(), message.agent_began()});
  }
  // They are totals: those of the next sample make good for what is not recorded now.
  if (batch.empty() || !daemon_.core().store_fault().empty()) return;
  daemon_.core().record(std::move(batch), JournalledCore::Wait::kNot);
}

void AgentStream::log(const v1::LogChunk& message) {
  if (!takes_report(message.token())) return;
  const JobId job = daemon_.core().read([&](const Core& core) {
    const Job* found = job_of(core.state(), message.token());
    return found ? found->id : JobId{0};
  });
  // Without room, or where it can't be written, it is left out: the agent sends again from there
  // when it registers anew.
  if (job == 0 || !daemon_.has_room()) return;
  try {
    daemon_.logs().append(job, message.token(), message.offset(), message.data());
  } catch (const std::exception& e) {
    if (lost_logs_.insert(job).second) {
      spdlog::error("the log of job {} can't be written: {}", job, e.what());
    }
  }
}

bool AgentStream::holds(Token token, const std::string& node) const {
  return daemon_.core().read(
      [&](const Core& core) { return scheduler::holds(core.state(), token, node); });
}

void AgentStream::remote_start(v1::RemoteStart message) {
  if (!holds(message.token(), node_) || !holds(message.token(), message.node())) {
    v1::Command refused;
    v1::RemoteResult& result = *refused.mutable_remote_result();
    result.set_token(message.token());
    result.set_request(message.request());
    result.set_node(node_);
    result.set_output(fmt::format("node {} does not hold this run\n", message.node()));
    result.set_ended(true);
    result.set_exit_code(126);
    outbox_->put(refused);
    return;
  }
  message.set_from(node_);
  v1::Command command;
  *command.mutable_remote_start() = message;
  daemon_.agents().send(message.node(), command);
}

void AgentStream::remote_result(v1::RemoteResult message) {
  if (!holds(message.token(), node_) || !holds(message.token(), message.node())) return;
  v1::Command command;
  const std::string asking = message.node();
  *command.mutable_remote_result() = std::move(message);
  daemon_.agents().send(asking, command);
}

}  // namespace wattle::scheduler
