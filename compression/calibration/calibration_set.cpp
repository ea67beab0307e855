#include "compression/calibration/calibration_set.h"

#include <fmt/format.h>

#include <vector>

#include "common/error.h"
#include "trainer/data/order/batch_plan.h"

namespace wattle {
namespace {

void check_finite(const at::Tensor& inputs, const std::vector<int64_t>& samples) {
  if (!inputs.is_floating_point()) return;
  const at::Tensor finite = inputs.isfinite().reshape({inputs.size(0), -1}).all(1);
  for (size_t i = 0; i < samples.size(); ++i) {
    if (finite[static_cast<int64_t>(i)].item<bool>()) continue;
    throw Error(ErrorCode::kNonFinite,
                fmt::format("calibration: sample {} of the training data holds NaN or infinite "
                            "values, expected finite ones",
                            samples[i]));
  }
}

}  // namespace

int64_t CalibrationSet::batches(int64_t samples) const {
  return EvaluationPlan{count(samples), batch_, ranks_.size()}.batches();
}

Batch CalibrationSet::batch(int64_t samples, int64_t index) const {
  const EvaluationPlan plan{count(samples), batch_, ranks_.size()};
  const IndexRange range = plan.samples_of(index);
  std::vector<int64_t> indices;
  for (int64_t i = range.first; i < range.end(); ++i) {
    indices.push_back(i * data_.size() / plan.samples);
  }
  Batch batch = data_.fetch(indices);
  check_finite(batch.inputs, indices);
  return batch;
}

void CalibrationSet::check(int64_t samples) const {
  if (data_.shape().kind == SampleShape::Kind::kTokens) return;
  each_of_mine(samples, [](int64_t, const Batch&) {});
}

void CalibrationSet::each_of_mine(int64_t samples,
                                  const std::function<void(int64_t, const Batch&)>& visit) const {
  const EvaluationPlan plan{count(samples), batch_, ranks_.size()};
  const IndexRange mine = plan.batches_of(ranks_.rank());
  for (int64_t i = mine.first; i < mine.end(); ++i) visit(i, batch(samples, i));
}

}  // namespace wattle
