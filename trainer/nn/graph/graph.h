#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "trainer/nn/registry.h"

namespace wattle {

class ActivationPoint;
struct Model;

enum class OperationKind { kConvolution, kLinear, kBatchNorm, kRelu, kAdd, kMaxPool, kMeanPool };

/// One operation of a forward pass. Values are numbered by the graph.
struct Operation {
  OperationKind kind = OperationKind::kRelu;
  const Parameter* weight = nullptr;  ///< of a product, or batch norm's scale
  const Parameter* bias = nullptr;    ///< nullptr where there is none
  int64_t stride = 1;                 ///< of a convolution; a pool's is its window
  int64_t padding = 0;                ///< of a convolution, on all sides
  int64_t window = 0;                 ///< of a max pool; a mean pool takes the plane
  at::Tensor running_mean = {};       ///< of batch norm, [channels], the model's own
  at::Tensor running_variance = {};
  double eps = 0;
  std::vector<int64_t> inputs = {};
  int64_t output = 0;
};

/// What flows between operations.
struct GraphValue {
  const ActivationPoint* point = nullptr;  ///< which it passes; nullptr if none
};

/// The operations of a model's forward pass as it predicts: without dropout, batch norm with its
/// running statistics. They are in an order in which they can be run.
struct Graph {
  std::vector<GraphValue> values;
  std::vector<Operation> operations;
  int64_t input = 0;   ///< [batch, features], or [batch, channels, height, width]
  int64_t output = 0;  ///< [batch, outputs]: what the objective takes

  /// The indices of the operations that read a value.
  std::vector<size_t> readers_of(int64_t value) const;
  /// The index of the operation that makes it; nothing for the input.
  std::optional<size_t> maker_of(int64_t value) const;
};

/// Follows one forward pass. Throws Error(kUnsupported) that names `what` for (an export, an
/// evaluation) where the model has no graph: it must be one of rows or images.
Graph graph_of(Model& model, const std::string& what);

}  // namespace wattle
