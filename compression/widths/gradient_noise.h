#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "trainer/state/working_transform.h"

namespace wattle {

/// How the gradient of one weight scatters from step to step. With g the gradient of a global
/// batch, estimated over the steps of a window and over some of the weight's values.
struct GradientNoiseReading {
  double variance = 0;     ///< tr(cov(g)), of the sampled values
  double mean_square = 0;  ///< |E g|^2 of them, at least 0
  int64_t values = 0;      ///< sampled

  /// The simple noise scale tr(cov) / |E g|^2 (McCandlish et al. 2018, arXiv:1812.06162, section
  /// 2.2), in global batches: how many of them must be averaged for the gradient to be as large as
  /// its noise. Infinite where no mean is left.
  double scale() const;
};

/// Measures the gradient noise of weights while a model trains, from the reduced gradients of its
/// steps, which are the same on every rank: nothing is sent. With N steps,
///
///   tr(cov(g)) = (sum |g_t|^2 - |sum g_t|^2 / N) / (N - 1),   |E g|^2 = |mean g|^2 - tr(cov(g)) /
///   N,
///
/// both unbiased where the mean stands still within a window. Of a large weight a fixed set of
/// values is followed, spread over it by the golden ratio, so that a step costs little. Gradients
/// are taken as they arrive at the working values, before clipping.
///
/// A transform that leaves values and gradients as they are; its sums are part of a checkpoint.
class GradientNoise : public WorkingTransform {
 public:
  /// Follows parameters `indices`, at most `values` numbers of each.
  GradientNoise(std::string name, const std::vector<int64_t>& indices,
                const std::vector<Parameter*>& parameters, int64_t values);

  std::string name() const override { return name_; }
  bool applies_to(int64_t index, const Parameter& parameter) const override;
  void transform(int64_t, at::Tensor&) override {}
  void transform_gradient(int64_t index, const at::Tensor& master, at::Tensor& gradient) override;
  std::vector<NamedTensor> state() override;

  /// A step is over: what its gradients were counts, unless its update was left out.
  void end_step(bool updated);
  /// Steps of the window so far.
  int64_t steps() const;
  /// Of parameter `index`. Throws Error(kInternal) with fewer than two steps.
  GradientNoiseReading reading(int64_t index) const;
  void begin_window();

 private:
  struct Followed {
    int64_t index = 0;
    std::string parameter;
    std::vector<int64_t> places;  ///< of the values
    std::vector<float> pending;   ///< of this step
    at::Tensor sum;               ///< [places] float32
    at::Tensor squares;           ///< [1] float64, sum |g_t|^2
  };
  const Followed* find(int64_t index) const;

  std::string name_;
  std::vector<Followed> followed_;
  at::Tensor steps_;  ///< [1] float64
};

}  // namespace wattle
