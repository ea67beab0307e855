#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "scheduler/agent/processes/as_user.h"

namespace wattle::agent {

/// Bytes [offset, offset + most) of a file, fewer at its end; "" where there is none.
std::string read_piece(const std::string& path, int64_t offset, size_t most);

/// What the trainer's metrics say of a run.
struct Progress {
  std::optional<double> units;             ///< steps of the job, lost ones not counted
  std::optional<double> units_per_second;  ///< since the last mark
  double tokens = 0;                       ///< since the run began
  std::string newest_line;
};

/// Follows output_dir/metrics.jsonl from where it ended when the run began. Lines that are no
/// records are left out: the file is the user's.
class MetricsTail {
 public:
  /// `offset`: of the first byte that belongs to the run.
  MetricsTail(std::string path, int64_t offset, std::optional<Account> account);

  /// Reads what is new.
  void poll();
  /// Steps from now on count for units_per_second: another limit is in force, or a new interval
  /// begins.
  void mark();
  Progress progress() const;

 private:
  void take(const std::string& line);

  std::string path_;
  int64_t offset_;
  std::optional<Account> account_;
  std::string rest_;  // a line that is not whole yet
  Progress progress_;
  int64_t steps_since_mark_ = 0;
  double seconds_since_mark_ = 0;
};

}  // namespace wattle::agent
