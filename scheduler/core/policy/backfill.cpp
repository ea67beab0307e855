#include <algorithm>
#include <limits>

#include "scheduler/core/policy/policies.h"
#include "scheduler/core/policy/queue_order.h"
#include "scheduler/core/policy/reservation.h"

namespace wattle::scheduler {
namespace {

/// Starts a job on what the reservation leaves.
bool start_beside(const Snapshot& snapshot, QueuePlanner& planner, size_t job, Amount& spare) {
  std::vector<int> devices = planner.free_devices();
  for (size_t t = 0; t < devices.size(); ++t) {
    devices[t] = std::min(devices[t], spare.devices[t]);
  }
  const double watts = std::min(planner.free_watts(), spare.watts);
  if (!planner.start_within(job, devices, watts, std::numeric_limits<double>::infinity())) {
    return false;
  }
  spare.devices[planner.chosen(job)->type] -= planner.chosen(job)->ranks;
  spare.watts -= lowest_watts(snapshot, *planner.chosen(job));
  return true;
}

}  // namespace

Plan BackfillPolicy::plan(const Snapshot& snapshot) const {
  QueuePlanner planner(snapshot);
  planner.keep_running();
  size_t head = 0;
  for (; head < snapshot.jobs.size(); ++head) {
    if (!planner.is_settled(head) && !planner.start(head)) break;
  }
  if (head == snapshot.jobs.size()) {
    planner.grow();
    return planner.finish();
  }
  std::optional<Reservation> kept = reserve(snapshot, head, planner.runs());
  const double start_seconds = kept ? kept->start_seconds.value_or(snapshot.now_seconds) : 0;
  for (size_t i = head + 1; i < snapshot.jobs.size(); ++i) {
    if (planner.is_settled(i)) continue;
    if (!kept) {  // the head would not fit if nothing else ran
      planner.start(i);
      continue;
    }
    if (planner.start_within(i, planner.free_devices(), planner.free_watts(),
                             start_seconds - snapshot.now_seconds)) {
      continue;
    }
    if (start_beside(snapshot, planner, i, kept->spare)) continue;
    planner.hold(i, Reason::kPriority,
                 "would delay the first job of the queue, which has reserved");
  }
  kept ? planner.grow_within(kept->spare) : planner.grow();
  return planner.finish();
}

}  // namespace wattle::scheduler
