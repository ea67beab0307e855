#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "compression/activations/saved_activations.h"
#include "compression/deployment.h"
#include "compression/formats/grid_format.h"
#include "trainer/nn/graph/graph.h"
#include "trainer/state/named_tensor.h"

namespace wattle {

/// An operation with its numbers. A product is float (weight, bias) or quantised (codes).
struct DeployedOperation {
  OperationKind kind = OperationKind::kRelu;
  std::string name = {};  ///< of the layer: "stem.conv"; "" where it has no parameters
  int64_t stride = 1, padding = 0, window = 0;
  double eps = 0;                           ///< of batch norm
  at::Tensor weight = {};                   ///< float32
  at::Tensor bias = {};                     ///< float32, undefined if there is none
  at::Tensor mean = {}, variance = {};      ///< of batch norm
  std::optional<EncodedWeight> codes = {};  ///< in place of weight; batch norm is folded in
  GridFormatOptions format = {};            ///< of the codes
  /// The bias of quantised activations times a quantised weight, int32 [outputs], with the scales
  /// (input's scale * weight's scale), float32 [outputs] or [1] (Jacob et al. 2018, section 2.4).
  /// Undefined where `bias` stays float: that of a weight with scales in groups, and one that int32
  /// can't hold.
  at::Tensor bias_codes = {}, bias_scales = {};
  std::vector<int64_t> inputs = {};
  int64_t output = 0;
};

/// A model as it is deployed: batch norm is folded into quantised convolutions, and each value that
/// is rounded has its grid.
struct DeployedGraph {
  std::vector<std::string> names;                    ///< of the values, each another
  std::vector<std::optional<ActivationGrid>> grids;  ///< of the values
  std::vector<DeployedOperation> operations;         ///< in an order in which they can be run
  int64_t input = 0;
  int64_t output = 0;

  std::vector<size_t> readers_of(int64_t value) const;
};

/// The graph of a model whose weights are deployed so. `parameters`: by name, float32, what is not
/// in the deployment. Throws Error(kUnsupported) for a weight that is not of integers.
DeployedGraph deployed_graph(Model& model, const std::vector<NamedTensor>& parameters,
                             const Deployment& deployment, const std::string& what);

}  // namespace wattle
