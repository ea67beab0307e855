#include <algorithm>
#include <limits>

#include "scheduler/core/plan/timeline.h"
#include "scheduler/core/policy/policies.h"
#include "scheduler/core/policy/queue_order.h"

namespace wattle::scheduler {
namespace {

/// When the job at the head can start, given what runs.
std::optional<Timeline::Slot> reservation(const Snapshot& snapshot, const QueuePlanner& planner,
                                          size_t head) {
  std::vector<Release> releases;
  for (size_t i = 0; i < snapshot.jobs.size(); ++i) {
    if (!planner.chosen(i)) continue;
    const OperatingPoint& point = *planner.chosen(i);
    if (auto seconds = planner.seconds_at(i, point)) {
      releases.push_back(
          {snapshot.now_seconds + *seconds, point.type, point.ranks, planner.lowest_watts(point)});
    }
  }
  const Timeline timeline(snapshot.now_seconds, {planner.free_devices(), planner.free_watts()},
                          std::move(releases));
  std::optional<Timeline::Slot> best;
  for (int type = 0; type < static_cast<int>(snapshot.types.size()); ++type) {
    const auto point = planner.least_point(head, type);
    if (!point) continue;
    auto slot = timeline.earliest(type, point->ranks, planner.lowest_watts(*point));
    if (slot && (!best || slot->start_seconds < best->start_seconds)) best = std::move(slot);
  }
  return best;
}

/// Starts a job on what the reservation leaves.
bool start_beside(QueuePlanner& planner, size_t job, Timeline::Slot& slot) {
  std::vector<int> devices = planner.free_devices();
  for (size_t t = 0; t < devices.size(); ++t) {
    devices[t] = std::min(devices[t], slot.spare.devices[t]);
  }
  const double watts = std::min(planner.free_watts(), slot.spare.watts);
  if (!planner.start_within(job, devices, watts, std::numeric_limits<double>::infinity())) {
    return false;
  }
  slot.spare.devices[planner.chosen(job)->type] -= planner.chosen(job)->ranks;
  slot.spare.watts -= planner.lowest_watts(*planner.chosen(job));
  return true;
}

}  // namespace

Plan BackfillPolicy::plan(const Snapshot& snapshot) const {
  QueuePlanner planner(snapshot);
  planner.keep_running();
  size_t head = 0;
  for (; head < snapshot.jobs.size(); ++head) {
    if (!snapshot.jobs[head].current && !planner.start(head)) break;
  }
  if (head == snapshot.jobs.size()) return planner.finish();
  std::optional<Timeline::Slot> slot = reservation(snapshot, planner, head);
  for (size_t i = head + 1; i < snapshot.jobs.size(); ++i) {
    const JobView& job = snapshot.jobs[i];
    if (job.current) continue;
    if (!slot) {  // the head fits at no known moment: it reserves nothing
      planner.start(i);
      continue;
    }
    if (planner.start_within(i, planner.free_devices(), planner.free_watts(),
                             slot->start_seconds - snapshot.now_seconds)) {
      continue;
    }
    if (start_beside(planner, i, *slot)) continue;
    planner.hold(i, Reason::kPriority,
                 "would delay the first job of the queue, which has reserved");
  }
  return planner.finish();
}

}  // namespace wattle::scheduler
