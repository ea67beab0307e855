#pragma once

#include <ATen/core/Tensor.h>

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <map>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

namespace wattle {

/// Where the threads of one group meet. Thread-safe.
class ThreadGroup {
 public:
  /// What a rank brings to a collective operation. All but `object` must agree.
  struct Call {
    std::string operation;
    int64_t numel = 0;
    at::ScalarType type = at::kByte;
    int64_t argument = 0;    ///< root, reduction, bytes
    void* object = nullptr;  ///< seen by all ranks until leave()
  };

  explicit ThreadGroup(int size) : size_(size), closed_(size), calls_(size) {}
  int size() const { return size_; }

  /// Waits for all ranks' calls and returns their objects. Throws Error(kCommunication) on every
  /// rank if the calls differ or a rank has closed the group.
  std::vector<void*> enter(int rank, Call call);
  /// Waits until all ranks are done with the objects.
  void leave(int rank);

  void put(int from, int to, at::Tensor message);
  at::Tensor take(int from, int to);

  /// `rank` takes no further part.
  void close(int rank);
  /// Throws if any rank has closed the group.
  void check_open(int rank);

 private:
  void meet(std::unique_lock<std::mutex>& lock, int rank);
  int first_closed() const;
  [[noreturn]] void fail_closed(int rank, int closed) const;
  void check_calls_agree(int rank) const;

  const int size_;
  std::mutex mutex_;
  std::condition_variable changed_;
  int waiting_ = 0;
  int64_t meetings_ = 0;
  std::vector<bool> closed_;
  std::vector<Call> calls_;
  std::map<std::pair<int, int>, std::deque<at::Tensor>> messages_;
};

}  // namespace wattle
