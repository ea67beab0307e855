#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>

#include "parallel/communicator.h"

namespace wattle {

/// Counters in shared memory by which ranks tell each other how far they are, and wait for it
/// without keeping a core busy: a waiter looks a few microseconds, then sleeps on a futex that
/// every announcement wakes. A waiter whose peer has ended throws instead of waiting for ever.
class RankEvents {
 public:
  /// `counters` for each rank, all 0. Collective. The ranks must share a host.
  RankEvents(Communicator& communicator, int counters);

  /// Sets a counter of this rank; what this rank wrote before is visible to who sees it.
  void announce(int counter, uint32_t value);
  /// Whether every rank's counter has reached `value` (counting on past 2^32).
  bool reached(int counter, uint32_t value) const;
  /// Waits until `condition`, which depends on counters, holds. Throws Error(kCommunication).
  void wait(const std::function<bool()>& condition);

 private:
  std::atomic<uint32_t>& counter_of(int rank, int counter) const;
  std::atomic<uint32_t>& events() const { return counter_of(0, 0); }

  int rank_;
  int ranks_;
  std::unique_ptr<SharedMemory> memory_;
};

}  // namespace wattle
