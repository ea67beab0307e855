#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "compression/calibration/calibration_set.h"
#include "compression/quantize/weight_targets.h"
#include "compression/widths/width_options.h"
#include "trainer/nn/model.h"

namespace wattle {

/// What a weight alone in a format does to a model.
struct WidthReading {
  std::shared_ptr<const WeightFormat> format;
  int64_t bytes = 0;
  /// Nats; infinite where the format can't hold the weight's values or the loss is not finite.
  double loss_increase = 0;
  std::optional<double> divergence = {};  ///< mean KL from the float model's distributions
};

/// A weight in every format that it could have, and the one that it gets.
struct WidthAssignment {
  std::string parameter;
  std::vector<WidthReading> readings;
  size_t chosen = 0;
};

/// The formats that a weight of this shape could have: those of the options that hold it, where its
/// target is the entry's own, else (the larger output layer of embeddings: mixed) its target alone.
std::vector<std::shared_ptr<const WeightFormat>> width_formats(const WeightTarget& target,
                                                               at::IntArrayRef shape,
                                                               const QuantizeOptions& options);

/// "" or why the budget can't be kept, from the weights' shapes alone.
std::string widths_refusal(const std::vector<WeightTarget>& targets, const Model& model,
                           const QuantizeOptions& options);

/// The sensitivity scan: rounds one weight at a time, with batch norm folded in where its target
/// says so and by its observer where it has one, in the model as it is (activations that have hooks
/// stay rounded), reads the loss on the
/// calibration samples and the divergence from what the model gave before, and puts the weight back
/// as it was. Then chooses formats by choose_widths(), by increase of loss. Collective; the same on
/// every rank and on any number of ranks.
std::vector<WidthAssignment> assign_widths(Model& model, const std::vector<WeightTarget>& targets,
                                           const QuantizeOptions& options,
                                           const CalibrationSet& calibration);

}  // namespace wattle
