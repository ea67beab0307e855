#include "parallel/communicators/threads/thread_group.h"

#include "common/error.h"

namespace wattle {
namespace {

std::string describe(const ThreadGroup::Call& call) {
  return call.operation + " of " + std::to_string(call.numel) + " " + c10::toString(call.type) +
         " (" + std::to_string(call.argument) + ")";
}

}  // namespace

std::vector<void*> ThreadGroup::enter(int rank, Call call) {
  std::unique_lock lock(mutex_);
  calls_[rank] = std::move(call);
  meet(lock, rank);
  check_calls_agree(rank);
  std::vector<void*> objects;
  for (const Call& each : calls_) objects.push_back(each.object);
  return objects;
}

void ThreadGroup::leave(int rank) {
  std::unique_lock lock(mutex_);
  meet(lock, rank);
}

void ThreadGroup::meet(std::unique_lock<std::mutex>& lock, int rank) {
  const int64_t meeting = meetings_;
  if (++waiting_ == size_) {
    waiting_ = 0;
    ++meetings_;
    changed_.notify_all();
    return;
  }
  changed_.wait(lock, [&] { return meetings_ != meeting || first_closed() >= 0; });
  if (meetings_ == meeting) fail_closed(rank, first_closed());
}

void ThreadGroup::check_calls_agree(int rank) const {
  for (int other = 0; other < size_; ++other) {
    const Call& a = calls_[rank];
    const Call& b = calls_[other];
    if (a.operation != b.operation || a.numel != b.numel || a.type != b.type ||
        a.argument != b.argument) {
      throw Error(ErrorCode::kCommunication, "thread communicator: rank " + std::to_string(rank) +
                                                 " calls " + describe(a) + ", rank " +
                                                 std::to_string(other) + " calls " + describe(b));
    }
  }
}

void ThreadGroup::put(int from, int to, at::Tensor message) {
  std::unique_lock lock(mutex_);
  if (closed_[to]) fail_closed(from, to);
  messages_[{from, to}].push_back(std::move(message));
  changed_.notify_all();
}

at::Tensor ThreadGroup::take(int from, int to) {
  std::unique_lock lock(mutex_);
  auto& queue = messages_[{from, to}];
  changed_.wait(lock, [&] { return !queue.empty() || closed_[from]; });
  if (queue.empty()) fail_closed(to, from);
  at::Tensor message = std::move(queue.front());
  queue.pop_front();
  return message;
}

void ThreadGroup::close(int rank) {
  std::unique_lock lock(mutex_);
  closed_[rank] = true;
  changed_.notify_all();
}

void ThreadGroup::check_open(int rank) {
  std::unique_lock lock(mutex_);
  if (first_closed() >= 0) fail_closed(rank, first_closed());
}

int ThreadGroup::first_closed() const {
  for (int rank = 0; rank < size_; ++rank) {
    if (closed_[rank]) return rank;
  }
  return -1;
}

void ThreadGroup::fail_closed(int rank, int closed) const {
  throw Error(ErrorCode::kCommunication, "thread communicator: rank " + std::to_string(rank) +
                                             " waits for rank " + std::to_string(closed) +
                                             ", which has left the group");
}

}  // namespace wattle
