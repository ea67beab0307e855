#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "compression/activations/activation_quantizer.h"
#include "compression/calibration/calibration_set.h"
#include "trainer/nn/model.h"

namespace wattle {

/// Gives quantisers that are on their points and have seen nothing yet their ranges, by their
/// observers, from forward passes on `samples` calibration samples: each batch of them counts as
/// one global batch. The memory that it takes does not grow with the samples. Collective; the same
/// on any number of ranks. Throws Error(kNonFinite).
void calibrate(Model& model, std::span<ActivationQuantizer* const> quantizers,
               const CalibrationSet& calibration, int64_t samples);

/// Keeps the quantisers that are on a model's points from observing for as long as it lives: for
/// forward passes, between the begin of a step and its end, that are not the step's.
class PausedObservers {
 public:
  /// What is on the points must outlive this.
  explicit PausedObservers(const Model& model);
  ~PausedObservers();
  PausedObservers(const PausedObservers&) = delete;
  PausedObservers& operator=(const PausedObservers&) = delete;

 private:
  std::vector<ActivationQuantizer*> paused_;
};

using ActivationQuantizers = std::vector<std::unique_ptr<ActivationQuantizer>>;

/// Puts quantisers on their points, in place of what hooks there are, for as long as it lives.
class HookedActivations {
 public:
  /// `model` and `quantizers` must outlive this; the model has their points.
  HookedActivations(Model& model, const ActivationQuantizers& quantizers);
  ~HookedActivations();
  HookedActivations(const HookedActivations&) = delete;
  HookedActivations& operator=(const HookedActivations&) = delete;

 private:
  std::vector<std::pair<ActivationPoint*, ActivationHook*>> before_;
};

/// A place whose activations are rounded, and how its range is observed.
struct ActivationSite {
  std::string name;
  ActivationSettings settings;
};

/// Quantisers that round, on no points any more: their ranges are those that the model's
/// activations have on the samples as it is now, as calibrate() finds them. None learns.
/// Collective.
ActivationQuantizers calibrated_activations(Model& model, const std::vector<ActivationSite>& sites,
                                            const CalibrationSet& calibration, int64_t samples);

}  // namespace wattle
