#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "compression/calibration/calibration_set.h"
#include "energy/clock.h"
#include "launch/train/commands/commands.h"
#include "launch/train/commands/efficiency.h"
#include "launch/train/compression_summary.h"
#include "launch/train/exports.h"
#include "launch/train/resume/resume.h"
#include "trainer/checkpoint/run_lock.h"
#include "trainer/loop/training_loop.h"

namespace wattle {

/// Everything of a training run, in the order in which it comes to life.
class TrainingRun {
 public:
  explicit TrainingRun(const RunSession& session);
  int run();

 private:
  // How a run ended, as its report says it.
  static constexpr const char* kDone = "done";
  static constexpr const char* kStoppedEarly = "stopped early";
  static constexpr const char* kExportFailed = "trained, but an export failed";
  static constexpr const char* kEarlyExportFailed = "stopped early, but an export failed";

  /// Rank 0's; null on the others.
  struct Records {
    std::unique_ptr<MetricsWriter> metrics;
    std::unique_ptr<Progress> progress;
  };

  bool is_first() const { return session_.world.rank() == 0; }
  LoopSettings loop_settings() const;
  void say(const std::string& line) const;
  void greet() const;
  bool is_stopped_early() const;
  bool is_complete();
  void prepare_callbacks(Evaluator* evaluator);
  std::unique_ptr<Evaluator> evaluator_of(Model& model);
  Records open_records() const;
  void say_end(RunEnd end, const TrainingLoop& loop, const EnergyGovernor& governor);
  std::string how_to_go_on(const TrainingLoop& loop, const std::string& change) const;
  ExportedFiles export_model();
  std::optional<std::string> make_sample();
  CompressionMeasures measure(const TrainingLoop& loop, Evaluator* evaluator);
  const char* how_training_ended(const TrainingLoop& loop, const ExportedFiles& files) const;
  void report(RunEnd end, TrainingLoop& loop, Evaluator* evaluator);
  std::string ledger() const;

  const RunSession& session_;
  const RunConfig& config_;
  AgreeingCommunicator ranks_;
  std::string threads_;
  std::unique_ptr<RunLock> lock_;
  FiguresExchange exchange_;
  SteadyClock clock_;
  double began_seconds_ = clock_.now_seconds();
  EnergyMonitor energy_;
  DataSource data_;
  BatchPlan plan_;
  int64_t steps_;
  Checkpointer checkpointer_;
  RunIdentity identity_;
  ResumePoint resume_;
  OneRankTime one_rank_;
  Replica replica_;
  TrainingState state_;
  RunAccounts accounts_;
  double matmul_rate_;
  CalibrationSet calibration_;
  std::vector<std::unique_ptr<Callback>> callbacks_;
  std::function<void()> keep_to_limits_;  ///< once there is a loop
};

}  // namespace wattle
