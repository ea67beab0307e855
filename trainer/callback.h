#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "common/run/metrics.h"
#include "trainer/nn/model.h"

namespace wattle {

class FlatParameters;

/// What a callback may look at and change.
struct TrainingView {
  Model& model;
  FlatParameters& parameters;
  int64_t step = 0;   ///< steps finished
  int64_t steps = 0;  ///< steps in all
  int rank = 0;
  int ranks = 1;
  /// How often callbacks have changed what the model computes: losses of before don't compare.
  int64_t model_changes = 0;
  /// Enters a change of the model into the metrics, as it stands in step `step`; may be empty.
  std::function<void(const std::string& event)> record_event = {};
};

/// Something that acts beside the training loop: compression, early stop, logging. Called on every
/// rank at the same points, in the order of the list; a callback that must act alike on all ranks
/// decides from what is alike on all ranks.
class Callback {
 public:
  virtual ~Callback() = default;

  virtual void train_begins(const TrainingView&) {}
  virtual void step_begins(const TrainingView&) {}
  /// After the optimizer's update and publish.
  virtual void step_ends(const TrainingView&, const MetricsRecord&) {}
  /// Return true to end training after this evaluation.
  virtual bool evaluation_ends(const TrainingView&, const MetricsRecord&) { return false; }
  /// Whether the state that was loaded is of a run whose training it had ended.
  virtual bool has_ended() const { return false; }
  /// Whether training_is_done() may have work to do, which may fail: a checkpoint is saved first.
  virtual bool works_after_training(const TrainingView&) const { return false; }
  /// Training has ended for good, by its last step or early, or had when a run is run again: comes
  /// before the last evaluation and checkpoint. Return true if it changed the model.
  virtual bool training_is_done(const TrainingView&) { return false; }
  virtual void train_ends(const TrainingView&) {}

  /// How often it has changed what the model computes (a format, a width), in the whole run.
  virtual int64_t model_changes() const { return 0; }

  /// The key of its state in a checkpoint, and that state; "" keeps none.
  virtual std::string name() const { return ""; }
  virtual std::string save_state() const { return ""; }
  virtual void load_state(const std::string&) {}
};

}  // namespace wattle
