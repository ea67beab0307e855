#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "common/config/schema.h"

namespace wattle {

/// What a job file may ask for at most: the scheduler keeps it all, and walks over it.
inline constexpr int64_t kMostRanks = 65536;
inline constexpr size_t kMostNameBytes = 200;  ///< of a job's name, a tenant's
inline constexpr size_t kMostAfter = 1000;     ///< entries of job.after
inline constexpr size_t kMostSweepJobs = 10000;
inline constexpr size_t kMostSweepKeys = 64;           ///< of one job of a sweep
inline constexpr size_t kMostOverrideBytes = 4096;     ///< of one a.b=c
inline constexpr size_t kMostSweepBytes = 8ull << 20;  ///< of all jobs' overrides together

/// Devices of one node, of all types together; each runs one rank.
inline constexpr int64_t kMostNodeDevices = 1024;

/// How many ranks a job runs with: all of them or none (a gang), any feasible count in between.
struct RankRange {
  int64_t min = 1;
  int64_t max = 1;
  void describe(Fields& f);
};

/// One key and the texts of the values it takes, as they would stand after `--set`.
struct SweepAxis {
  std::string key;
  std::vector<std::string> values;
};

/// A sweep makes one job of each combination (`grid`) or of each entry (`list`):
///   sweep: {grid: {optimizer.lr: [1e-3, 3e-4], model.width: [128, 256]}}      four jobs
///   sweep: {list: [{optimizer.lr: 1e-3}, {optimizer.lr: 3e-4, train.steps: 50}]}    two jobs
struct Sweep {
  std::vector<SweepAxis> grid;
  std::vector<std::vector<std::pair<std::string, std::string>>> list;
  bool empty() const { return grid.empty() && list.empty(); }
};

/// The `job:` section of a run's YAML file. The scheduler acts on it; the trainer only checks it.
struct JobSpec {
  std::string tenant = "default";
  int64_t priority = 0;
  RankRange ranks;
  std::optional<std::string> deadline;
  std::optional<double> energy_budget_joules;
  Sweep sweep;
  std::vector<std::string> after;

  void describe(Fields& f);
};

/// What of a spec is more than is taken: the key below `job`, what was expected and what came. A
/// file's are errors when it is read; the scheduler asks again, for not every client reads files.
std::vector<std::pair<std::string, std::string>> excesses_of(const JobSpec& spec);

/// The overrides (`a.b=c`) of each job of the sweep, in a fixed order: the last axis of a grid
/// turns fastest. A sweep that is empty makes one job without overrides. Throws Error(kConfig) if
/// it would make more than is taken.
std::vector<std::vector<std::string>> expand_sweep(const Sweep& sweep);

/// Seconds since 1970 of a time in UTC, "2026-11-24T08:00:00Z" (seconds may be left out); nothing
/// if the text is not such a time.
std::optional<double> parse_utc_time(const std::string& text);

}  // namespace wattle
