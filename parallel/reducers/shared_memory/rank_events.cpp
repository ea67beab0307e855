#include "parallel/reducers/shared_memory/rank_events.h"

#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <climits>

#include "common/error.h"

namespace wattle {
namespace {

/// A waiter looks this often before it sleeps: some microseconds.
constexpr int kLooks = 200;
/// A sleeper wakes this often to see whether its peers still are.
constexpr timespec kPeerCheckInterval = {0, 100'000'000};

static_assert(std::atomic<uint32_t>::is_always_lock_free && sizeof(std::atomic<uint32_t>) == 4);

/// Sleeps while `word` is `value`; false after the interval. Other processes may share the word.
bool futex_wait(std::atomic<uint32_t>& word, uint32_t value) {
  return ::syscall(SYS_futex, &word, FUTEX_WAIT, value, &kPeerCheckInterval, nullptr, 0) == 0 ||
         errno != ETIMEDOUT;
}

void futex_wake_all(std::atomic<uint32_t>& word) {
  ::syscall(SYS_futex, &word, FUTEX_WAKE, INT_MAX, nullptr, nullptr, 0);
}

}  // namespace

RankEvents::RankEvents(Communicator& communicator, int counters)
    : rank_(communicator.rank()),
      ranks_(communicator.size()),
      memory_(communicator.share((1 + counters) * static_cast<int64_t>(sizeof(uint32_t)))) {
  if (!memory_) throw Error(ErrorCode::kInternal, "rank events: the ranks do not share a host");
}

std::atomic<uint32_t>& RankEvents::counter_of(int rank, int counter) const {
  return reinterpret_cast<std::atomic<uint32_t>*>(memory_->part(rank).data())[counter];
}

void RankEvents::announce(int counter, uint32_t value) {
  counter_of(rank_, 1 + counter).store(value);
  events().fetch_add(1);
  futex_wake_all(events());
}

bool RankEvents::reached(int counter, uint32_t value) const {
  for (int rank = 0; rank < ranks_; ++rank) {
    if (static_cast<int32_t>(counter_of(rank, 1 + counter).load() - value) < 0) return false;
  }
  return true;
}

void RankEvents::wait(const std::function<bool()>& condition) {
  for (int look = 0; look < kLooks; ++look) {
    if (condition()) return;
  }
  while (true) {
    const uint32_t seen = events().load();
    if (condition()) return;
    if (!futex_wait(events(), seen)) memory_->check_peers();
  }
}

}  // namespace wattle
