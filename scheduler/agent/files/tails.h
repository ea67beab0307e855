#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "scheduler/agent/processes/as_user.h"

namespace wattle::agent {

struct JobFiles;

/// Bytes [offset, offset + most) of a file, fewer at its end; "" where there is none.
std::string read_piece(const std::string& path, int64_t offset, size_t most);

/// What the trainer's metrics say of a run.
struct Progress {
  std::optional<double> units;             ///< steps of the job, lost ones not counted
  std::optional<double> units_per_second;  ///< since the last mark
  double tokens = 0;                       ///< since the run began
  std::string newest_line;
};

/// Where the metrics of a run begin.
struct MetricsBegin {
  int64_t offset = 0;        ///< of its first byte in output_dir/metrics.jsonl
  int64_t float_offset = 0;  ///< in those of its float run
  int64_t float_steps = 0;   ///< that the float run had done
};

/// Follows output_dir/metrics.jsonl, and before it that of the float run, from where they ended
/// when the run began. Steps of the float run are steps of the job, but nothing is foreseen from
/// their rate: they are cheaper. Lines that are no records are left out: the files are the user's.
class MetricsTail {
 public:
  MetricsTail(const JobFiles& files, const MetricsBegin& begin, std::optional<Account> account);

  /// Reads what is new.
  void poll();
  /// Steps from now on count for units_per_second: another limit is in force, or a new interval
  /// begins.
  void mark();
  Progress progress() const;

 private:
  struct File {
    std::string path;
    int64_t offset;
    std::string rest = {};  // a line that is not whole yet
  };

  void read(File& file);
  void take(const std::string& line, bool is_float);

  File float_run_, run_;
  int64_t float_steps_;
  std::optional<Account> account_;
  Progress progress_;
  int64_t steps_since_mark_ = 0;
  double seconds_since_mark_ = 0;
};

}  // namespace wattle::agent
