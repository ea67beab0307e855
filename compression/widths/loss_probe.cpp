#include "compression/widths/loss_probe.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/log_softmax.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <c10/core/GradMode.h>

#include <algorithm>

namespace wattle {
namespace {

constexpr int64_t kPositions = 256;  ///< of a batch, whose distributions are compared

/// Sums of one batch.
enum Sum { kLoss, kScored, kDivergence, kCompared, kSums };

/// Of logarithms of probabilities, in rows. Normalised anew in double: those of float sum to 1 but
/// for 1e-7, which is more than eight bits change them.
double divergence(const at::Tensor& reference, const at::Tensor& now) {
  const at::Tensor p = at::log_softmax(reference, 1, at::kDouble);
  return (p.exp() * (p - at::log_softmax(now, 1, at::kDouble))).sum().item<double>();
}

}  // namespace

LossProbe::LossProbe(Model& model, const CalibrationSet& calibration, int64_t samples)
    : model_(model), ranks_(calibration.ranks()), batches_(calibration.batches(samples)) {
  calibration.each_of_mine(samples, [this](int64_t index, const Batch& batch) {
    mine_.push_back({index, batch, {}});
  });
}

at::Tensor LossProbe::log_probabilities(const at::Tensor& activations, const Batch& batch) {
  if (batch.targets.scalar_type() != at::kLong) return {};
  const at::Tensor rows = activations.reshape({-1, activations.size(-1)});
  const int64_t count = std::min(kPositions, rows.size(0));
  std::vector<int64_t> chosen;
  for (int64_t i = 0; i < count; ++i) chosen.push_back(i * rows.size(0) / count);
  const at::Tensor logits = model_.objective->predict(rows.index_select(0, at::tensor(chosen)));
  return logits.size(1) > 1 ? at::log_softmax(logits, 1, at::kFloat) : at::Tensor();
}

void LossProbe::set_reference() {
  const at::AutoGradMode no_grad(false);
  for (Part& part : mine_) {
    part.reference =
        log_probabilities(model_.forward(part.batch.inputs, ForwardContext{}), part.batch);
  }
}

LossReading LossProbe::read() {
  const at::AutoGradMode no_grad(false);
  at::Tensor sums = at::zeros({batches_, kSums}, at::kDouble);
  for (const Part& part : mine_) {
    double* row = sums.mutable_data_ptr<double>() + part.index * kSums;
    const at::Tensor activations = model_.forward(part.batch.inputs, ForwardContext{});
    const LossResult result =
        model_.objective->loss(activations, part.batch.targets, ForwardContext{});
    row[kLoss] = result.loss.item<double>() * static_cast<double>(result.scored);
    row[kScored] = static_cast<double>(result.scored);
    if (!part.reference.defined()) continue;
    const at::Tensor now = log_probabilities(activations, part.batch);
    row[kDivergence] = divergence(part.reference, now);
    row[kCompared] = static_cast<double>(now.size(0));
  }
  ranks_.all_reduce(sums, ReduceOp::kSum);
  double total[kSums] = {};
  for (int64_t batch = 0; batch < batches_; ++batch) {
    for (int sum = 0; sum < kSums; ++sum) {
      total[sum] += sums.const_data_ptr<double>()[batch * kSums + sum];
    }
  }
  LossReading reading;
  if (total[kScored] > 0) reading.loss = total[kLoss] / total[kScored];
  if (total[kCompared] > 0) reading.divergence = total[kDivergence] / total[kCompared];
  return reading;
}

}  // namespace wattle
