#include "compression/quantize/weight_quantizer.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/where.h>
#include <fmt/format.h>

#include <algorithm>
#include <limits>

#include "common/error.h"
#include "trainer/nn/layers/norm_fold.h"

namespace wattle {

WeightQuantizer::WeightQuantizer(std::string name, const std::vector<WeightTarget>& targets,
                                 const std::vector<Parameter*>& parameters, bool clip_gradients)
    : name_(std::move(name)), entries_(parameters.size()), clip_gradients_(clip_gradients) {
  for (const WeightTarget& target : targets) {
    const auto found = std::ranges::find_if(
        parameters, [&](const Parameter* p) { return p->name() == target.parameter; });
    if (found == parameters.end()) {
      throw Error(ErrorCode::kInternal,
                  fmt::format("{}: the model has no parameter {}", name_, target.parameter));
    }
    if (target.shard) {
      check_cut(*target.format, fmt::format("{}: {}", name_, target.parameter),
                (*found)->value().sizes(), *target.shard);
    }
    entries_[found - parameters.begin()] = Entry{.target = target};
  }
}

WeightQuantizer::Entry& WeightQuantizer::entry_of(int64_t index) {
  return entries_.at(index).value();
}

const WeightQuantizer::Entry& WeightQuantizer::entry_of(int64_t index) const {
  return entries_.at(index).value();
}

bool WeightQuantizer::applies_to(int64_t index, const Parameter&) const {
  return entries_.at(index).has_value();
}

void WeightQuantizer::update() {
  for (auto& entry : entries_) {
    if (!entry || !entry->scale_gradient.defined()) continue;
    entry->optimizer->update(entry->scale_gradient, entry->rate, entry->scales->scale);
    entry->scale_gradient.reset();
  }
}

void WeightQuantizer::round(int64_t index, const at::Tensor& values, at::Tensor& rounded) const {
  const WeightTarget& target = entry_of(index).target;
  try {
    const std::optional<WeightScales> scales = given_scales(index, values);
    target.format->round(values, scales ? &*scales : nullptr, rounded);
  } catch (const Error& error) {
    throw Error(error.code(), fmt::format("{}: {} can't be rounded to {}: {}", name_,
                                          target.parameter, target.format->name(), error.what()));
  }
}

void WeightQuantizer::transform_master(int64_t index, const at::Tensor& master,
                                       at::Tensor& values) {
  if (entry_of(index).target.norm) return WorkingTransform::transform_master(index, master, values);
  leave_non_finite(index, values, [&] { round(index, master, values); });
}

void WeightQuantizer::transform(int64_t index, at::Tensor& values) {
  leave_non_finite(index, values, [&] { transform_or_throw(index, values); });
}

void WeightQuantizer::transform_or_throw(int64_t index, at::Tensor& values) const {
  const std::optional<FollowingNorm>& norm = entry_of(index).target.norm;
  if (!norm) return round(index, values, values);
  const at::Tensor off = fold_factor(*norm).eq(0);
  const at::Tensor kept = off.any().item<bool>() ? values.clone() : at::Tensor();
  multiply_channels(values, fold_factor(*norm));
  round(index, values, values);
  if (!kept.defined()) return;
  std::vector<int64_t> shape(values.dim(), 1);
  shape.front() = -1;
  values.copy_(at::where(off.view(shape), kept, values));
}

void WeightQuantizer::leave_non_finite(int64_t index, at::Tensor& values,
                                       const std::function<void()>& work) {
  std::string& complaint = entry_of(index).complaint;
  complaint.clear();
  try {
    work();
  } catch (const Error& error) {
    if (error.code() != ErrorCode::kNonFinite) throw;
    complaint = error.what();
    values.fill_(std::numeric_limits<double>::quiet_NaN());
  }
}

std::string WeightQuantizer::complaint() const {
  for (const auto& entry : entries_) {
    if (entry && !entry->complaint.empty()) return entry->complaint;
  }
  return "";
}

at::Tensor WeightQuantizer::folded(int64_t index, const at::Tensor& master) const {
  const std::optional<FollowingNorm>& norm = entry_of(index).target.norm;
  if (!norm) return master;
  at::Tensor values = master.clone();
  multiply_channels(values, fold_factor(*norm));
  return values;
}

void WeightQuantizer::transform_gradient(int64_t index, const at::Tensor& master,
                                         at::Tensor& gradient) {
  Entry& entry = entry_of(index);
  if (!entry.complaint.empty()) return;  // nothing finite comes of this step
  const at::Tensor rounded = folded(index, master);
  if (entry.learning != ScaleLearning::kNone) {
    entry.scale_gradient =
        learn_scales_gradient(*entry.target.format->grid(), entry.learning, rounded,
                              entry.scales->scale, gradient, shard_of(index));
  } else if (clip_gradients_ && (entry.scales || entry.target.format->clips_by_its_rule())) {
    const std::optional<WeightScales> scales = given_scales(index, rounded);
    entry.target.format->clip_gradient(rounded, scales ? &*scales : nullptr, gradient);
  }
  const std::optional<FollowingNorm>& norm = entry.target.norm;
  if (norm) multiply_channels(gradient, fold_divisor(fold_factor(*norm)));
}

std::vector<NamedTensor> WeightQuantizer::state() {
  std::vector<NamedTensor> tensors;
  for (const auto& entry : entries_) {
    if (!entry || !entry->scales) continue;
    const std::string& parameter = entry->target.parameter;
    tensors.push_back({"scale." + parameter, entry->scales->scale});
    if (entry->scales->zero_point.defined()) {
      tensors.push_back({"zero_point." + parameter, entry->scales->zero_point});
    }
    if (!entry->optimizer) continue;
    for (const NamedTensor& tensor : entry->optimizer->state()) {
      tensors.push_back({"scale_" + tensor.name + "." + parameter, tensor.value});
    }
  }
  return tensors;
}

std::vector<int64_t> WeightQuantizer::indices() const {
  std::vector<int64_t> indices;
  for (size_t i = 0; i < entries_.size(); ++i) {
    if (entries_[i]) indices.push_back(static_cast<int64_t>(i));
  }
  return indices;
}

const WeightScales* WeightQuantizer::scales_of(int64_t index) const {
  const Entry& entry = entry_of(index);
  return entry.scales ? &*entry.scales : nullptr;
}

const WeightShard* WeightQuantizer::shard_of(int64_t index) const {
  const std::optional<WeightShard>& shard = entry_of(index).target.shard;
  return shard ? &*shard : nullptr;
}

std::optional<WeightScales> WeightQuantizer::given_scales(int64_t index,
                                                          const at::Tensor& values) const {
  const Entry& entry = entry_of(index);
  if (entry.scales) return entry.scales;
  const WeightShard* shard = shard_of(index);
  const WeightFormat& format = *entry.target.format;
  if (shard == nullptr || !shares_scales(format, values.sizes(), *shard)) return std::nullopt;
  return format.scales_of(values, shard);
}

WeightScales WeightQuantizer::scales_for(int64_t index, const at::Tensor& master) const {
  if (const WeightScales* fixed = scales_of(index)) return *fixed;
  return entry_of(index).target.format->scales_of(folded(index, master), shard_of(index));
}

void WeightQuantizer::set_format(int64_t index, std::shared_ptr<const WeightFormat> format) {
  Entry& entry = entry_of(index);
  WeightTarget target = entry.target;
  target.format = std::move(format);
  entry = Entry{.target = std::move(target)};
}

void WeightQuantizer::set_scales(int64_t index, WeightScales scales) {
  Entry& entry = entry_of(index);
  if (!entry.target.format->takes_scales()) {
    throw Error(ErrorCode::kInternal, fmt::format("{}: {} takes no scales", entry.target.parameter,
                                                  entry.target.format->name()));
  }
  entry.scales = std::move(scales);
}

void WeightQuantizer::learn_scales(int64_t index, ScaleLearning learning, double rate) {
  Entry& entry = entry_of(index);
  entry.learning = learning;
  entry.rate = rate;
  entry.scale_gradient.reset();
  entry.optimizer.reset();
  if (learning != ScaleLearning::kNone) entry.optimizer.emplace(entry.scales->scale.numel());
}

}  // namespace wattle
