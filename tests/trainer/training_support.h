#pragma once

#include <ATen/core/Tensor.h>

#include "trainer/models/build_model.h"

namespace wattle::testing_support {

/// A model with gradient storage bound, as the trainer would: ready for backward passes.
class TrainableModel {
 public:
  TrainableModel(const ModelOptions& options, at::ScalarType type, uint64_t seed = 1);

  Model& model() { return model_; }

  /// Forward, backward; leaves the gradients in the parameters. The mean loss.
  double step(const Batch& batch, ForwardContext context = {});

  /// Several micro-batches into the same gradients, each weighted 1 / count.
  double step(const std::vector<Batch>& batches, ForwardContext context = {});

  /// The loss alone, no gradients.
  double loss(const Batch& batch, ForwardContext context = {});

  /// value -= rate * grad for every parameter.
  void descend(double rate);

  /// A copy of every gradient.
  std::vector<at::Tensor> gradients() const;

 private:
  Model model_;
};

/// Binds a parameter to storage of its own, of its value's dtype.
void bind_alone(Parameter& parameter);

/// Tokens [batch, seq] of a fixed pseudo-random text and those that follow them.
Batch token_batch(int64_t batch, int64_t seq, int64_t vocab, int64_t first_sample = 0);

/// Rows [begin, end) of a batch.
Batch rows_of(const Batch& batch, int64_t begin, int64_t end);

/// The largest difference between the gradients that backward delivers and central differences of
/// the loss, over up to `probes` elements of every parameter; relative to the gradient's norm.
double gradient_error(TrainableModel& model, const Batch& batch, const ForwardContext& context,
                      int64_t probes = 6);

}  // namespace wattle::testing_support
