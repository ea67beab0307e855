#pragma once

#include <optional>

#include "launch/train/run_session.h"
#include "trainer/loop/figures_exchange.h"

namespace wattle {

/// How a model that computes with integers alone compares with the model that it was made of.
struct IntegerFigures {
  int64_t samples = 0;
  double loss = 0;       ///< of values: mean squared error
  double accuracy = 0;   ///< of classes: share of right ones
  double agreement = 0;  ///< of classes: share of samples with the same one
  /// The largest difference of an output, in steps of the output's grid.
  double largest_difference = 0;
};

/// What `evaluate.integers` and `evaluate.predictions` ask for, over the validation set: the file
/// with inputs and outputs of each sample (and the outputs of the integers beside them), and the
/// figures; none without integers. Collective; rank 0 writes. Throws Error(kUnsupported) for a
/// model that is not int8 throughout, Error(kConfig) for one of tokens.
std::optional<IntegerFigures> write_predictions(const RunConfig& config, ShapedModel& shaped,
                                                const Dataset& validation,
                                                FiguresExchange& exchange);

}  // namespace wattle
