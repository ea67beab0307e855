#pragma once

#include <unordered_map>

#include "trainer/nn/graph/graph.h"

namespace wattle {

/// Takes down the operations of a forward pass while it runs (ForwardContext::recorder). A tensor
/// is known by its identity and kept until the recorder is gone.
class GraphRecorder {
 public:
  /// The pass begins with this tensor.
  void begin(const at::Tensor& input);
  /// An operation has made `output`; its `inputs` and `output` are filled in here. Throws
  /// Error(kUnsupported) for an input that nothing known has made.
  void add(Operation operation, const std::vector<at::Tensor>& inputs, const at::Tensor& output);
  /// x passes a point, which made y of it.
  void mark(const ActivationPoint& point, const at::Tensor& x, const at::Tensor& y);
  Graph finish(const at::Tensor& output);

 private:
  int64_t number_of(const at::Tensor& tensor) const;
  void keep(const at::Tensor& tensor, int64_t number);

  Graph graph_;
  std::unordered_map<const void*, int64_t> numbers_;
  std::vector<at::Tensor> kept_;
};

}  // namespace wattle
