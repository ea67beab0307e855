#pragma once

#include <cstdint>
#include <fstream>
#include <optional>
#include <string>
#include <vector>

namespace wattle {

/// One line of output_dir/metrics.jsonl: a training step, an evaluation, (phase "compression") a
/// change that a callback made to the model, or (phase "energy") what the run has used so far, as
/// noted after start-up, after each checkpoint and at the end, so that the next attempt goes on
/// from there. Keys are the names of the members; absent values are left out.
struct MetricsRecord {
  std::string phase = "train";  ///< "train", "evaluate", "compression" or "energy"
  int64_t attempt = 1;          ///< grows with every start of the run
  int64_t step = 0;             ///< steps finished, from 1
  std::optional<double> loss;   ///< mean over the step's global batch
  std::optional<double> lr;
  std::optional<double> grad_norm;     ///< of the global gradient, before clipping
  std::optional<int64_t> tokens;       ///< of this step, all ranks
  std::optional<double> tokens_per_s;  ///< all ranks, over step_seconds
  std::optional<double> samples_per_s;
  double step_seconds = 0;              ///< wall clock; the slowest rank's
  std::optional<double> mfu;            ///< share of the measured matrix-multiply rate, all ranks
  std::optional<double> energy_joules;  ///< of this step, all ranks
  std::optional<double> energy_joules_total;  ///< of the training steps so far
  std::optional<double> run_energy_joules;    ///< of everything so far, all attempts
  std::optional<double> power_watts;          ///< mean over the step, all ranks
  std::string energy_source = "unavailable";
  int64_t peak_memory_bytes = 0;  ///< largest resident set of a rank
  std::optional<double> eval_loss;
  std::optional<double> perplexity;
  std::optional<double> accuracy;
  std::optional<std::string> event;  ///< what changed, of phase "compression"
  bool skipped = false;              ///< the update was left out because a gradient was not finite

  std::string to_json() const;
  /// Throws Error(kFormat) if the line is no record.
  static MetricsRecord from_json(const std::string& line);
};

/// Appends records to a file, a line each, flushed. Throws Error(kIo) when the file can't be
/// written. One writer a file.
class MetricsWriter {
 public:
  explicit MetricsWriter(std::string path);
  void append(const MetricsRecord& record);

 private:
  std::string path_;
  std::ofstream file_;
};

/// All whole records of a file, oldest first; a last line that was cut off by a crash is left out.
/// A file that does not exist has none. Throws Error(kFormat) naming file and line of anything else
/// that is no record.
std::vector<MetricsRecord> read_metrics(const std::string& path);

}  // namespace wattle
