#include "compression/report/activation_figures.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/zeros.h>
#include <c10/core/GradMode.h>

#include <memory>

#include "trainer/nn/autograd.h"

namespace wattle {
namespace {

/// Counts on its way what a quantiser clips; stands on its point for as long as it lives.
class ClippedCount : public ActivationHook {
 public:
  ClippedCount(ActivationPoint& point, ActivationQuantizer& quantizer)
      : point_(point), quantizer_(quantizer) {
    point_.set_hook(this);
  }
  ~ClippedCount() override { point_.set_hook(&quantizer_); }
  ClippedCount(const ClippedCount&) = delete;
  ClippedCount& operator=(const ClippedCount&) = delete;

  at::Tensor apply(const at::Tensor& x) override {
    const AffineScale& scale = *quantizer_.scale();
    const ClipRange ends = covered_by(scale, quantizer_.grid());
    const double half = scale.scale / 2.0;
    const at::Tensor values = values_of(x);
    values_ += values.numel();
    clipped_ += (values.lt(ends.low - half) | values.gt(ends.high + half)).sum().item<int64_t>();
    return quantizer_.apply(x);
  }

  const std::string& point() const { return quantizer_.point(); }
  int64_t values() const { return values_; }
  int64_t clipped() const { return clipped_; }

 private:
  ActivationPoint& point_;
  ActivationQuantizer& quantizer_;
  int64_t values_ = 0;
  int64_t clipped_ = 0;  ///< more than half a step beyond the ends
};

/// nullptr where nothing is rounded.
ActivationQuantizer* rounder_on(const ActivationPoint& point) {
  auto* quantizer = dynamic_cast<ActivationQuantizer*>(point.hook());
  return quantizer != nullptr && quantizer->rounds() ? quantizer : nullptr;
}

}  // namespace

std::vector<ActivationFigures> activation_figures(const Model& model) {
  std::vector<ActivationFigures> figures;
  for (const ActivationPoint* point : model.activations) {
    const ActivationQuantizer* quantizer = rounder_on(*point);
    if (quantizer == nullptr) continue;
    figures.push_back({quantizer->point(), quantizer->grid(), *quantizer->scale()});
  }
  return figures;
}

std::map<std::string, double> clipped_shares(Model& model, const CalibrationSet& calibration,
                                             int64_t samples) {
  std::vector<std::unique_ptr<ClippedCount>> counts;
  for (ActivationPoint* point : model.activations) {
    ActivationQuantizer* quantizer = rounder_on(*point);
    if (quantizer != nullptr) counts.push_back(std::make_unique<ClippedCount>(*point, *quantizer));
  }
  if (counts.empty()) return {};
  const at::AutoGradMode no_grad(false);
  calibration.each_of_mine(
      samples, [&](int64_t, const Batch& batch) { model.forward(batch.inputs, ForwardContext{}); });
  at::Tensor sums = at::zeros({static_cast<int64_t>(counts.size()), 2}, at::kLong);
  int64_t* sum = sums.mutable_data_ptr<int64_t>();
  for (size_t i = 0; i < counts.size(); ++i) {
    sum[2 * i] = counts[i]->clipped();
    sum[2 * i + 1] = counts[i]->values();
  }
  calibration.ranks().all_reduce(sums, ReduceOp::kSum);
  sum = sums.mutable_data_ptr<int64_t>();
  std::map<std::string, double> shares;
  for (size_t i = 0; i < counts.size(); ++i) {
    if (sum[2 * i + 1] == 0) continue;
    shares[counts[i]->point()] =
        static_cast<double>(sum[2 * i]) / static_cast<double>(sum[2 * i + 1]);
  }
  return shares;
}

}  // namespace wattle
