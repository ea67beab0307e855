#include "scheduler/core/policy/policies.h"
#include "scheduler/core/policy/queue_order.h"

namespace wattle::scheduler {

Plan FifoPolicy::plan(const Snapshot& snapshot) const {
  QueuePlanner planner(snapshot);
  planner.keep_running();
  bool blocked = false;
  for (size_t i = 0; i < snapshot.jobs.size(); ++i) {
    if (planner.is_settled(i)) continue;
    if (blocked) {
      planner.hold(i, Reason::kPriority, "waits behind the first job of the queue");
    } else {
      blocked = !planner.start(i);
    }
  }
  if (!blocked) planner.grow();
  return planner.finish();
}

}  // namespace wattle::scheduler
