#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "common/run/metrics.h"
#include "common/run/progress.h"
#include "trainer/callback.h"
#include "trainer/checkpoint/checkpointer.h"
#include "trainer/checkpoint/training_state.h"
#include "trainer/data/loader.h"
#include "trainer/loop/energy/energy_governor.h"
#include "trainer/loop/evaluator.h"
#include "trainer/loop/records/run_accounts.h"
#include "trainer/loop/training_step.h"
#include "trainer/state/optimizer/schedule.h"
#include "trainer/train_options.h"

namespace wattle {

/// Why a loop ended.
enum class RunEnd { kDone, kStopped, kBudgetSpent };

/// What the loop knows besides its parts; the same on every rank.
struct LoopSettings {
  TrainOptions train;
  uint64_t seed = 0;
  int64_t steps = 0;  ///< in all
  int64_t attempt = 1;
  int64_t tokens_per_sample = 0;  ///< 0 where samples are not sequences of tokens
  double flops_per_sample = 0;    ///< of forward and backward; 0 if unknown
  double matmul_rate = 0;         ///< measured, floating-point operations a second, all ranks
  std::map<std::string, std::string> checkpoint_sections;  ///< kept as they are
  bool training_is_done = false;                           ///< by an earlier attempt
};

/// Trains: step after step, with evaluations, checkpoints, metrics and callbacks between them.
///
/// The parts must outlive it. Every rank runs it; what it decides, it decides from figures that are
/// the same on every rank.
class TrainingLoop {
 public:
  struct Parts {
    TrainingStep& step;
    TrainingState& state;
    Model& model;
    Loader& loader;
    Evaluator* evaluator;  ///< null without validation data
    Checkpointer& checkpointer;
    RunAccounts& accounts;
    EnergyGovernor& governor;
    EnergyMonitor& energy;
    FiguresExchange& exchange;
    const LearningRateSchedule& schedule;
    std::vector<std::unique_ptr<Callback>>& callbacks;
    MetricsWriter* metrics;  ///< rank 0's; null on the others
    Progress* progress;      ///< likewise
    std::function<bool()> stop_requested;
  };

  TrainingLoop(Parts parts, LoopSettings settings);

  /// Trains from `step` steps done to the end, or to a stop; a checkpoint is always saved at the
  /// end. Collective. Throws Error(kNonFinite) that names the step, and what the parts throw.
  RunEnd run(int64_t step);

  int64_t steps_done() const { return step_; }
  /// Whether the run can go on from where it ended: all but a run that made no step leave one.
  bool has_checkpoint() const { return step_ > 0 && saved_step_ == step_; }
  /// The newest evaluation, if there was one.
  const std::optional<Evaluation>& evaluation() const { return evaluation_; }
  /// Of all samples consumed so far, over all ranks. Collective.
  StreamHash consumed();
  /// Notes in the metrics what the whole run has used so far.
  void note_energy();
  /// Between pieces of work that no step or evaluation of this loop contains: pauses as long as the
  /// cap on watts demands. Collective.
  void keep_to_limits();
  bool is_limited() const { return parts_.governor.is_limited(); }

 private:
  void begin_callbacks();
  void train_step();
  StepOutcome run_step(double lr);
  bool is_over() const;  ///< training, for good
  bool goes_on() const;
  RunEnd finish();
  void end_training();
  bool is_stop_asked();
  bool may_work();
  bool book_between_steps();  ///< whether the limits allow more
  void evaluate();
  std::optional<Evaluation> run_evaluation();
  bool fits(double joules) const;
  void tell_gaps(const SharedFigures& figures);
  void save();
  void settle_checkpoint(WriteState least);
  void finish_checkpoint();
  void check_finite(const StepOutcome& outcome);
  MetricsRecord record_of(const StepOutcome& outcome, const SharedFigures& figures,
                          double lr) const;
  MetricsRecord record_of(const Evaluation& evaluation, double seconds) const;
  /// Of a phase between steps: where the run is, and what it has used.
  MetricsRecord record_between_steps(const char* phase) const;
  void publish(const MetricsRecord& record);
  void show(const MetricsRecord& record);
  void show(const MetricsRecord& evaluation, int64_t scored);
  TrainingView view();
  void record_event(const std::string& event);

  Parts parts_;
  LoopSettings settings_;
  int64_t step_ = 0;
  int64_t first_step_ = 0;
  int64_t skipped_in_a_row_ = 0;
  int64_t saved_step_ = -1;
  int64_t evaluated_step_ = -1;  ///< by this attempt
  bool stop_asked_ = false;
  bool early_end_ = false;
  bool is_end_cut_ = false;  ///< before all that was to be done after training
  bool budget_spent_ = false;
  std::optional<double> evaluation_joules_;  ///< the dearest so far
  double seconds_trained_ = 0;
  std::optional<Evaluation> evaluation_;
};

}  // namespace wattle
