#include "scheduler/core/policy/reservation.h"

#include <algorithm>
#include <limits>

namespace wattle::scheduler {
namespace {

using Runs = std::vector<std::optional<OperatingPoint>>;

std::vector<Release> expected_ends(const Snapshot& snapshot, const Runs& runs) {
  std::vector<Release> releases;
  for (size_t i = 0; i < runs.size(); ++i) {
    if (!runs[i]) continue;
    const auto seconds = seconds_at(snapshot.jobs[i], *runs[i]);
    if (!seconds) continue;
    releases.push_back({snapshot.now_seconds + std::max(1.0, *seconds), runs[i]->type,
                        runs[i]->ranks, lowest_watts(snapshot, *runs[i])});
  }
  return releases;
}

std::optional<Reservation> at_known_moment(const Snapshot& snapshot,
                                           const std::vector<OperatingPoint>& points,
                                           const Timeline& timeline) {
  std::optional<Reservation> best;
  for (const OperatingPoint& point : points) {
    auto slot = timeline.earliest(point.type, point.ranks, lowest_watts(snapshot, point));
    if (!slot || (best && best->start_seconds <= slot->start_seconds)) continue;
    best = {point, slot->start_seconds, std::move(slot->spare)};
  }
  return best;
}

std::optional<Reservation> at_unknown_moment(const Snapshot& snapshot,
                                             const std::vector<OperatingPoint>& points,
                                             const Amount& free) {
  const OperatingPoint* best = nullptr;
  for (const OperatingPoint& point : points) {
    if (point.ranks > snapshot.types[point.type].capacity) continue;
    if (lowest_watts(snapshot, point) > snapshot.watts + 1e-9) continue;
    if (!best || free.devices[point.type] > free.devices[best->type]) best = &point;
  }
  if (!best) return std::nullopt;
  Reservation kept{*best, std::nullopt, free};
  kept.spare.devices[best->type] = std::max(0, free.devices[best->type] - best->ranks);
  kept.spare.watts = std::max(0.0, free.watts - lowest_watts(snapshot, *best));
  return kept;
}

}  // namespace

Amount free_beside(const Snapshot& snapshot, const Runs& runs) {
  Amount free;
  free.watts = snapshot.watts;
  for (const TypeView& type : snapshot.types) free.devices.push_back(type.capacity);
  for (const auto& run : runs) {
    if (!run) continue;
    free.devices[run->type] -= run->ranks;
    free.watts -= lowest_watts(snapshot, *run);
  }
  return free;
}

bool holds(const Snapshot& snapshot, const Amount& amount, size_t job) {
  for (int type = 0; type < static_cast<int>(snapshot.types.size()); ++type) {
    const auto point = least_point(snapshot, job, type);
    if (point && point->ranks <= amount.devices[type] &&
        lowest_watts(snapshot, *point) <= amount.watts + 1e-9) {
      return true;
    }
  }
  return false;
}

std::optional<Reservation> reserve(const Snapshot& snapshot, size_t job, const Runs& runs) {
  const Amount free = free_beside(snapshot, runs);
  std::vector<OperatingPoint> points;
  for (int type = 0; type < static_cast<int>(snapshot.types.size()); ++type) {
    const auto point = least_point(snapshot, job, type);
    if (point) points.push_back(*point);
  }
  const Timeline timeline(snapshot.now_seconds, free, expected_ends(snapshot, runs));
  auto known = at_known_moment(snapshot, points, timeline);
  return known ? known : at_unknown_moment(snapshot, points, free);
}

}  // namespace wattle::scheduler
