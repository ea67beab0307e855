#include "tests/bench/scheduler/load/simulated_agent.h"

#include <grpcpp/grpcpp.h>

#include <chrono>
#include <condition_variable>
#include <deque>
#include <map>
#include <mutex>
#include <vector>

#include "scheduler/rpc/agent.grpc.pb.h"

namespace wattle::bench {
namespace {

constexpr int kBeatsPerReport = 5;

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point begin) {
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

v1::AgentMessage registration_of(const std::string& node) {
  v1::AgentMessage message;
  v1::Registration& registration = *message.mutable_registration();
  registration.set_node(node);
  registration.set_meter("estimated:model");
  v1::DeviceGroup& group = *registration.add_devices();
  group.set_type("V100");
  group.set_count(SimulatedAgent::kDevices);
  group.set_idle_watts(SimulatedAgent::kIdleWatts);
  group.set_min_limit_watts(SimulatedAgent::kMinWatts);
  group.set_max_limit_watts(SimulatedAgent::kMaxWatts);
  group.set_safe_watts(SimulatedAgent::kMinWatts);
  return message;
}

}  // namespace

class SimulatedAgent::Stream : public grpc::ClientBidiReactor<v1::AgentMessage, v1::Command> {
 public:
  Stream(std::shared_ptr<grpc::Channel> channel, const std::string& node)
      : node_(node), stub_(v1::Agent::NewStub(channel)) {
    stub_->async()->Attach(&context_, this);
    AddHold();  // for the writes that beat() begins
    put(registration_of(node));
    StartRead(&command_);
    StartCall();
  }

  void finish() {
    context_.TryCancel();
    std::unique_lock lock(mutex_);
    ended_.wait(lock, [this] { return is_done_; });
  }

  void beat() {
    const std::lock_guard lock(mutex_);
    if (!figures_.is_attached) return;
    v1::AgentMessage message;
    message.mutable_heartbeat()->set_number(++beats_);
    sent_[beats_] = Clock::now();
    put_locked(std::move(message));
    if (beats_ % kBeatsPerReport == 0) report_locked();
  }

  AgentFigures figures() const {
    const std::lock_guard lock(mutex_);
    return figures_;
  }

 private:
  struct Held {
    int devices = 0;
    bool is_first = false;
    double limit_watts = 0, joules = 0, units = 0;
  };

  void OnReadDone(bool ok) override {
    {
      const std::lock_guard lock(mutex_);
      is_broken_ = !ok;
      if (ok) obey_locked(command_);
    }
    if (ok) {
      StartRead(&command_);
    } else {
      RemoveHold();
    }
  }

  void OnWriteDone(bool ok) override {
    const std::lock_guard lock(mutex_);
    outgoing_.pop_front();
    is_broken_ = is_broken_ || !ok;
    if (!is_broken_ && !outgoing_.empty()) StartWrite(&outgoing_.front());
  }

  void OnDone(const grpc::Status&) override {
    const std::lock_guard lock(mutex_);
    figures_.is_attached = false;
    is_done_ = true;
    ended_.notify_all();
  }

  void put(v1::AgentMessage message) {
    const std::lock_guard lock(mutex_);
    put_locked(std::move(message));
  }

  /// One write is under way at a time: the front one.
  void put_locked(v1::AgentMessage message) {
    if (is_broken_) return;
    outgoing_.push_back(std::move(message));
    if (outgoing_.size() == 1) StartWrite(&outgoing_.front());
  }

  void obey_locked(const v1::Command& command) {
    switch (command.body_case()) {
      case v1::Command::kRegistered:
        figures_.is_attached = true;
        break;
      case v1::Command::kLeaseRenewal:
        renewed_locked(command.lease_renewal().heartbeat());
        break;
      case v1::Command::kLaunch:
        launch_locked(command.launch());
        break;
      case v1::Command::kSetLimit:
        if (auto held = runs_.find(command.set_limit().token()); held != runs_.end()) {
          held->second.limit_watts = command.set_limit().limit_watts();
        }
        acknowledge_locked(command.set_limit().sequence());
        break;
      case v1::Command::kStop:
        exit_locked(command.stop().token());
        break;
      case v1::Command::kKill:
        exit_locked(command.kill().token());
        break;
      default:
        break;
    }
  }

  void renewed_locked(int64_t number) {
    const auto sent = sent_.find(number);
    if (sent == sent_.end()) return;
    ++figures_.renewals;
    figures_.slowest_renewal = std::max(figures_.slowest_renewal, seconds_since(sent->second));
    sent_.erase(sent);
  }

  void launch_locked(const v1::Launch& launch) {
    ++figures_.launches;
    Held& held = runs_[launch.token()];
    held.devices = launch.devices_size();
    held.limit_watts = launch.limit_watts();
    held.is_first = launch.hosts_size() > 0 && launch.hosts(0).node() == node_;
    acknowledge_locked(launch.sequence());
    if (!held.is_first) return;
    v1::AgentMessage started;
    started.mutable_run_started()->set_token(launch.token());
    put_locked(std::move(started));
  }

  void acknowledge_locked(int64_t sequence) {
    v1::AgentMessage message;
    message.mutable_acknowledged()->set_sequence(sequence);
    put_locked(std::move(message));
  }

  void exit_locked(int64_t token) {
    const auto held = runs_.find(token);
    if (held == runs_.end()) return;
    constexpr int kStopped = 75;
    v1::AgentMessage message;
    v1::RunExited& exited = *message.mutable_run_exited();
    exited.set_token(token);
    exited.set_exit_code(kStopped);
    exited.set_joules(held->second.joules);
    v1::SourceJoules& part = *exited.add_energy();
    part.set_source("estimated:model");
    part.set_joules(held->second.joules);
    runs_.erase(held);
    put_locked(std::move(message));
  }

  void report_locked() {
    for (auto& [token, held] : runs_) {
      v1::AgentMessage message;
      v1::Measured& measured = *message.mutable_measured();
      const double watts = held.devices * held.limit_watts;
      held.joules += watts * kBeatsPerReport;
      measured.set_token(token);
      measured.set_limit_watts(held.limit_watts);
      measured.set_watts(watts);
      measured.set_joules(held.joules);
      v1::SourceJoules& part = *measured.add_energy();
      part.set_source("estimated:model");
      part.set_joules(held.joules);
      if (held.is_first) {
        const double rate = held.devices * held.limit_watts / kMaxWatts;
        held.units += rate * kBeatsPerReport;
        measured.set_units(held.units);
        measured.set_units_per_second(rate);
      }
      put_locked(std::move(message));
    }
  }

  const std::string node_;
  std::unique_ptr<v1::Agent::Stub> stub_;
  grpc::ClientContext context_;
  v1::Command command_;

  mutable std::mutex mutex_;
  std::condition_variable ended_;
  bool is_broken_ = false, is_done_ = false;
  std::deque<v1::AgentMessage> outgoing_;
  std::map<int64_t, Held> runs_;
  std::map<int64_t, Clock::time_point> sent_;
  int64_t beats_ = 0;
  AgentFigures figures_;
};

SimulatedAgent::SimulatedAgent(std::shared_ptr<grpc::Channel> channel, const std::string& node)
    : stream_(std::make_unique<Stream>(std::move(channel), node)) {}

SimulatedAgent::~SimulatedAgent() { stream_->finish(); }

void SimulatedAgent::beat() { stream_->beat(); }

AgentFigures SimulatedAgent::figures() const { return stream_->figures(); }

}  // namespace wattle::bench
