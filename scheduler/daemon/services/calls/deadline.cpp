#include "scheduler/daemon/services/calls/deadline.h"

#include <grpcpp/grpcpp.h>

namespace wattle::scheduler {

using Clock = std::chrono::steady_clock;

Deadline::Deadline(grpc::ServerContext& context, std::chrono::milliseconds time)
    : time_(time), until_(Clock::now() + time), thread_([this, &context] { watch(context); }) {}

Deadline::~Deadline() {
  {
    const std::lock_guard lock(mutex_);
    has_ended_ = true;
  }
  ended_.notify_all();
  thread_.join();
}

bool Deadline::renew() {
  const std::lock_guard lock(mutex_);
  until_ = Clock::now() + time_;
  return !has_passed_;
}

void Deadline::watch(grpc::ServerContext& context) {
  std::unique_lock lock(mutex_);
  while (!has_ended_ && Clock::now() < until_) ended_.wait_until(lock, until_);
  if (has_ended_) return;
  has_passed_ = true;
  context.TryCancel();
}

}  // namespace wattle::scheduler
