#pragma once

#include <vector>

#include "compression/export/deployed_graph.h"
#include "compression/integer/integer_kernels.h"

namespace wattle {

/// A deployed model that computes with integers alone (Jacob et al. 2018, arXiv:1712.05877,
/// sections 2.2 to 2.4): int8 weights and activations, int32 sums and biases, fixed-point factors
/// between them. Floats occur where inputs become codes, and where the output's codes become
/// values.
///
/// It rounds where the fake-quantised model rounds. The two differ by a step where a value lies
/// within float32's error of the middle between two codes.
class IntegerModel {
 public:
  /// Throws Error(kUnsupported) that names the layer for what is not integers of 8 bits: weights
  /// must be symmetric, and every activation that is stored quantised.
  explicit IntegerModel(DeployedGraph graph);
  IntegerModel(const IntegerModel&) = delete;
  IntegerModel& operator=(const IntegerModel&) = delete;

  /// inputs [batch, ...] float32 to what the objective takes, [batch, outputs] float32. Samples are
  /// spread over all threads.
  at::Tensor forward(const at::Tensor& inputs) const;

 private:
  /// A graph's operation, with the rounding that follows it.
  struct Step {
    const DeployedOperation* operation = nullptr;
    int64_t output = 0;  ///< the value after a ReLU that is part of it
    bool relu = false;
    Requantisation requantisation = {};
  };
  const ActivationGrid& grid_of(int64_t value) const { return *graph_.grids[value]; }
  void add_step(const DeployedOperation& operation);
  void check_product(const DeployedOperation& product) const;
  std::vector<double> factors_of(const Step& step) const;
  at::Tensor run(const Step& step, const std::vector<at::Tensor>& codes) const;
  void run_sample(const Step& step, const std::vector<at::Tensor>& codes, int64_t sample,
                  at::Tensor& output) const;
  std::vector<int64_t> shape_after(const Step& step, at::IntArrayRef input) const;

  DeployedGraph graph_;
  std::vector<Step> steps_;
};

}  // namespace wattle
