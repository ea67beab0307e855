#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "compression/calibration/calibration_set.h"

namespace wattle {

/// How a model does on some samples, as its weights are at the moment.
struct LossReading {
  double loss = 0;  ///< mean over the scored positions, in nats
  /// Mean KL(reference || now) of the distributions over tokens or classes; none where nothing is
  /// classified, or without a reference.
  std::optional<double> divergence;
};

/// Reads a model's loss on calibration samples again and again while its weights are changed.
/// Readings are the same on every rank, and on any number of ranks: each batch's sums stand by
/// themselves until they are added in the batches' order.
class LossProbe {
 public:
  /// `model` must outlive it. Distributions are compared at up to 256 positions of a batch, spread
  /// evenly. Throws as CalibrationSet does.
  LossProbe(Model& model, const CalibrationSet& calibration, int64_t samples);

  /// From now on readings diverge from what the model gives now.
  void set_reference();
  /// Collective.
  LossReading read();

 private:
  struct Part {
    int64_t index = 0;  ///< of the batch
    Batch batch;
    at::Tensor reference;  ///< log probabilities [positions, classes]; undefined without
  };
  at::Tensor log_probabilities(const at::Tensor& activations, const Batch& batch);

  Model& model_;
  Communicator& ranks_;
  int64_t batches_;
  std::vector<Part> mine_;
};

}  // namespace wattle
