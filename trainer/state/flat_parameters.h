#pragma once

#include <ATen/core/Tensor.h>

#include <string>
#include <vector>

#include "parallel/reducers/flat_layout.h"
#include "trainer/nn/parameter.h"
#include "trainer/state/precision.h"
#include "trainer/state/working_transform.h"

namespace wattle {

/// The layout of a model's parameters, in the model's order; what the gradient reducer is made of.
FlatLayout layout_of(const std::vector<Parameter*>& parameters);

/// All parameters of a model in flat buffers, and each Parameter bound to views of them.
///
///   master    [layout.numel]  what the optimizer updates
///   working   what the forward pass reads: the master's own storage, unless a WorkingTransform
///             applies to the parameter or the precision is bf16
///   gradients [layout.numel]  the reducer's, taken at the working values
///
/// A step:  backward, reduction → finish_gradients() → optimizer updates master()
///          → update_transforms() → publish()
///
/// The gaps of the layout hold zeros in every buffer and stay zero. Not thread-safe.
class FlatParameters {
 public:
  /// Takes over the parameters' present values, rounded to the master's type. `gradients` stays at
  /// its address, is float32, float64 or bfloat16 and decides the device. The parameters must
  /// outlive this. Throws Error(kInternal) if the layout is not that of the parameters.
  FlatParameters(std::vector<Parameter*> parameters, FlatLayout layout, at::Tensor gradients,
                 Precision precision);
  FlatParameters(const FlatParameters&) = delete;
  FlatParameters& operator=(const FlatParameters&) = delete;

  const std::vector<Parameter*>& parameters() const { return parameters_; }
  const FlatLayout& layout() const { return layout_; }
  at::Tensor& master() { return master_; }
  at::Tensor& gradients() { return gradients_; }
  /// The master values of parameter `index`, in its shape.
  at::Tensor master_of(int64_t index) const;

  /// Adds to the end of the chain, and publishes. The parameters it applies to move to other
  /// storage: call between steps. The transform must outlive this or be removed.
  void add_transform(WorkingTransform& transform);
  void remove_transform(WorkingTransform& transform);
  const std::vector<WorkingTransform*>& transforms() const { return transforms_; }

  /// Takes the gradients back through the chain, before norm and clipping.
  void finish_gradients();

  /// Transforms move what they learn, as the optimizer has moved the master values.
  void update_transforms();

  /// Makes the working values from the master's. Call after each change of the master, and after a
  /// change of a transform's state.
  void publish();

  /// "" or the first of the transforms' complaints about what was published last.
  std::string complaint() const;

 private:
  at::Tensor view(const at::Tensor& flat, int64_t index) const;
  std::vector<WorkingTransform*> chain_of(int64_t index) const;
  void rebind();

  std::vector<Parameter*> parameters_;
  FlatLayout layout_;
  std::vector<std::vector<int64_t>> shapes_;
  at::Tensor gradients_;
  at::Tensor master_;
  at::Tensor transformed_;  ///< the chain's output in the master's type; undefined without a chain
  at::Tensor rounded_;      ///< bf16; undefined for other precisions
  std::vector<WorkingTransform*> transforms_;
  std::vector<std::vector<WorkingTransform*>> chains_;  ///< of each parameter
};

}  // namespace wattle
