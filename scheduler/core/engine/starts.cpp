#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "scheduler/core/engine/joule_claims.h"
#include "scheduler/core/engine/state.h"

namespace wattle::scheduler {
namespace {

/// The limit at which a start on these devices fits now: the wanted one, or less down to the
/// lowest; 0 if none does.
double limit_for_now(const State& state, const OperatingPoint& point,
                     const std::vector<NodeShare>& shares, double free) {
  const DeviceType& type = state.types[point.type];
  for (const NodeShare& share : shares) {
    for (DeviceId device : share.devices) free += state.devices[device].idle_watts;
  }
  const double most = free / point.ranks + kRoundingWatts;
  if (most < CapLedger::counted(type.min_limit_watts)) return 0;
  // Whole watts; where the lowest limit lies between two, that one.
  return std::min(point.limit_watts, std::max(type.min_limit_watts, std::floor(most)));
}

/// What a start would be given now, and the limit at which it fits the cap.
struct Place {
  std::vector<NodeShare> shares;  ///< empty if there are too few devices
  double limit_watts = 0;         ///< 0 if there are too few watts; the devices are free again then
};

void give_back(State& state, const Place& place) {
  for (const NodeShare& share : place.shares) {
    for (DeviceId device : share.devices) free_device(state, device);
  }
}

Place take_place(State& state, const OperatingPoint& point, double free) {
  Place place{state.pool.take(point.type, point.ranks), 0};
  if (place.shares.empty()) return place;
  place.limit_watts = limit_for_now(state, point, place.shares, free);
  if (place.limit_watts > 0) return place;
  give_back(state, place);
  return place;
}

void start_run(Round& round, Job& job, const PendingStart& pending, Place place) {
  const double limit_watts = place.limit_watts;
  State& state = round.state;
  Run run;
  run.token = ++state.last_token;
  run.point = pending.point;
  run.issued_watts = limit_watts;
  run.started_seconds = state.now_seconds;
  run.shares = std::move(place.shares);
  Start start{job.id, run.token,  state.types[run.point.type].name, run.point.ranks, limit_watts,
              {},     pending.why};
  for (NodeShare& share : run.shares) {
    share.reported_seconds = state.now_seconds;
    for (DeviceId device : share.devices) state.devices[device].job = job.id;
    const Sequence sequence = state.ledger.issue(share.node, share.devices, limit_watts);
    const Node& node = state.nodes[share.node];
    start.shares.push_back({node.name, indices_on(node, share.devices), sequence});
    state.joules.open(run.token, share.node, job.id, job.request.tenant);
  }
  state.job_of_token[run.token] = job.id;
  state.owner_of_token[run.token] = job.id;
  state.waiting.erase(job.id);
  state.running.insert(job.id);
  if (!job.claims_since_seconds) job.claims_since_seconds = state.now_seconds;
  if (limit_watts != run.point.limit_watts) state.to_adjust.insert(job.id);
  const size_t others = start.shares.size() - 1;
  const std::string remark =
      fmt::format("started on {} of {} at {:.0f} W each ({}{}): {}", run.point.ranks,
                  start.device_type, limit_watts, start.shares.front().node,
                  others > 0 ? fmt::format(" and {} more", others) : "", pending.why);
  run.units_before = job.units_done;
  job.resize_ranks = 0;
  job.kept_bytes += kBytesOfRun;
  job.run = std::move(run);
  round.decide(job.id, std::move(start), remark);
  round.change(job, JobState::kRunning, Reason::kNone, pending.why);
}

/// Whether too few joules are left for the start, beside those kept for others: they have been
/// spent or promised since the plan was asked for.
bool refuse_for_joules(Round& round, Job& job, const OperatingPoint& point, double kept_joules) {
  State& state = round.state;
  const double joules = start_joules(state, point.type, point.ranks);
  const std::string why = short_of_joules(state, job, kept_joules, joules);
  if (why.empty()) return false;
  job.claims_since_seconds.reset();
  round.change(job, job.state, Reason::kEnergyBudget, why);
  state.note_change();  // others may have its devices and watts
  return true;
}

}  // namespace

void start_pending(Round& round) {
  State& state = round.state;
  if (state.pending_starts.empty()) return;
  std::vector<PendingStart> left;
  JouleClaims claims(state, state.now_seconds);
  double free = headroom(state);
  bool out_of_watts = false;
  for (PendingStart& pending : state.pending_starts) {
    Job& job = state.jobs.at(pending.job);
    if (job.run || is_finished(job.state)) continue;
    if (refuse_for_joules(round, job, pending.point, 0)) continue;
    Place place;
    if (!out_of_watts) place = take_place(state, pending.point, free);
    if (place.limit_watts == 0) {
      const bool has_devices = out_of_watts
                                   ? state.pool.fits(pending.point.type, pending.point.ranks)
                                   : !place.shares.empty();
      out_of_watts = out_of_watts || has_devices;
      round.change(job, job.state, has_devices ? Reason::kPowerCap : Reason::kResources,
                   has_devices ? "is planned: waits until others have lowered their limits"
                               : "is planned: waits until devices come free");
      left.push_back(std::move(pending));
      continue;
    }
    // Only now, for it takes a look at all runs.
    if (refuse_for_joules(round, job, pending.point, claims.before(job))) {
      give_back(state, place);
      continue;
    }
    start_run(round, job, pending, std::move(place));
    lease_start(round, job, claims);
    claims.start(job);
    free = headroom(state);
  }
  state.pending_starts = std::move(left);
}

}  // namespace wattle::scheduler
