#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "trainer/nn/graph/activation_point.h"
#include "trainer/nn/parameter.h"
#include "trainer/nn/registry.h"

namespace wattle {

/// Some samples. Tokens: inputs and targets [batch, seq] int64 (target -1 = not scored). Images:
/// inputs [batch, channels, height, width], targets [batch] int64. Rows: inputs [batch, features],
/// targets [batch] float or int64.
struct Batch {
  at::Tensor inputs;
  at::Tensor targets;
  std::vector<int64_t> sample_indices;  ///< global sample index of each row (the sampler's order)
};

/// Mean and unbiased variance of one batch-norm layer over one micro-batch, [channels] each.
struct BatchStatistics {
  at::Tensor mean;
  at::Tensor variance;
};

/// Follows forward and backward through the layer kinds, to share time and energy among them.
/// Absent on the steps that are not traced, so that it costs nothing there.
class LayerTrace {
 public:
  virtual ~LayerTrace() = default;
  virtual void enter_forward(LayerKind kind) = 0;
  virtual void enter_backward(LayerKind kind) = 0;
};

class GraphRecorder;

/// What a forward pass needs to know besides its input.
struct ForwardContext {
  bool training = false;
  uint64_t seed = 0;
  int64_t step = 0;
  const std::vector<int64_t>* sample_indices = nullptr;  ///< for dropout; required when training
  /// The micro-batch's mean loss counts this much in the step's loss (1 / micro-batches).
  double loss_weight = 1.0;
  /// What went into the first layer; set by Model::loss, for losses that look there.
  const at::Tensor* inputs = nullptr;
  /// Batch norm appends here when training, in layer order; running averages are then updated by
  /// the trainer, in the order of the global micro-batches.
  std::vector<BatchStatistics>* statistics = nullptr;
  /// Batch norm uses its running statistics when training too, and appends none.
  bool frozen_norms = false;
  LayerTrace* trace = nullptr;
  GraphRecorder* recorder = nullptr;  ///< takes down the operations (graph_of())
};

/// A unit that a pipeline may cut between: an embedding, a block, a final norm.
class Layer {
 public:
  virtual ~Layer() = default;
  /// Activations in, activations out; shapes are the model's own.
  virtual at::Tensor forward(const at::Tensor& input, const ForwardContext& context) = 0;
  virtual LayerKind kind() const = 0;
};

/// What is minimised, and what is predicted.
struct LossResult {
  /// Scalar (float32, or float64 if the model is), mean over the scored positions. backward()
  /// starts here, with no other gradient than 1, and gives gradients of loss * context.loss_weight.
  at::Tensor loss;
  int64_t scored = 0;    ///< positions or samples in that mean
  int64_t correct = -1;  ///< right classifications among them; -1 where there are no classes
};

class LogitLoss;

/// The head of a model: from the last activations to a loss, and to predictions.
class Objective {
 public:
  virtual ~Objective() = default;
  virtual LossResult loss(const at::Tensor& activations, const at::Tensor& targets,
                          const ForwardContext& context) = 0;
  /// Logits or values, [batch, ..., outputs].
  virtual at::Tensor predict(const at::Tensor& activations) = 0;
  /// From now on training minimises this loss of the logits (trainer/nn/objectives/logit_loss.h);
  /// nullptr: cross-entropy again. False, and nothing changes, where nothing is classified.
  virtual bool set_logit_loss(LogitLoss* /*loss*/) { return false; }
};

/// A batch-norm layer's running statistics, [channels] each; part of a checkpoint.
struct Buffer {
  std::string name;
  at::Tensor value;
};

/// A plain model: layers in order, an objective, and the registry of its parameters. Parallelism,
/// precision and compression are applied to it from outside, through the registry.
struct Model {
  std::vector<std::unique_ptr<Layer>> layers;
  std::unique_ptr<Objective> objective;
  std::vector<Parameter*> parameters;  ///< in the order of the forward pass; owned by the layers
  std::vector<Weight> weights;         ///< those of the parameters that multiply activations
  /// Where what flows between layers can be changed from outside, in the order of the forward pass.
  std::vector<ActivationPoint*> activations;
  std::unique_ptr<ActivationPoint> input;  ///< the first of them, of rows or images
  std::vector<UnitGroup> groups;           ///< hidden units that can be pruned or spread over ranks
  std::vector<Buffer> buffers;             ///< mean and variance of each batch norm, in layer order
  double running_average_momentum = 0.1;   ///< of batch norm's running statistics
  /// Training keeps the running statistics and normalises with them.
  bool frozen_norms = false;

  at::Tensor forward(const at::Tensor& inputs, const ForwardContext& context);
  LossResult loss(const Batch& batch, const ForwardContext& context);

  /// running = (1 - momentum) * running + momentum * statistics, one micro-batch.
  void update_running_statistics(const std::vector<BatchStatistics>& statistics);

  int64_t parameter_count() const;
};

}  // namespace wattle
