#include "compression/activations/activation_quantizer.h"

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/full_like.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros_like.h>
#include <fmt/format.h>

#include <atomic>
#include <limits>
#include <nlohmann/json.hpp>

#include "common/error.h"
#include "compression/formats/grid_kernels.h"
#include "trainer/nn/autograd.h"

namespace wattle {
namespace {

constexpr int64_t kPiece = 1 << 14;

IntegerGrid integers_of(const AffineScale& scale, const AffineGrid& grid) {
  return {scale.scale, static_cast<float>(scale.zero_point), static_cast<float>(grid.lowest()),
          static_cast<float>(grid.highest())};
}

void in_pieces(int64_t count, const std::function<void(int64_t begin, int64_t size)>& work) {
  at::parallel_for(0, count, kPiece, [&](int64_t begin, int64_t end) { work(begin, end - begin); });
}

/// In the place of values of which one is not finite.
at::Tensor nowhere(const at::Tensor& x) {
  const at::Tensor y = at::full_like(values_of(x), std::numeric_limits<double>::quiet_NaN());
  return record(y, {x}, [](const at::Tensor& dy) -> std::vector<at::Tensor> { return {dy}; });
}

std::vector<float> floats_of(const at::Tensor& values) {
  const float* data = values.const_data_ptr<float>();
  return {data, data + values.numel()};
}

}  // namespace

ActivationQuantizer::ActivationQuantizer(std::string point, const ActivationSettings& settings)
    : point_(std::move(point)),
      settings_(settings),
      observer_(settings.observer, settings.grid),
      batch_(observer_.batch()) {}

void ActivationQuantizer::set_rounding(bool rounding) {
  rounding_ = rounding;
  if (rounding && settings_.learns_ends && scale_ && !learned_) begin_learning();
}

at::Tensor ActivationQuantizer::apply(const at::Tensor& x) {
  const bool records = recording();
  if (observing_ && !batch_.try_add(values_of(x))) {
    if (records) return nowhere(x);
    batch_.add(values_of(x), point_);  // throws
  }
  if (!rounds()) return x;
  const at::NoGradGuard no_grad;
  const AffineScale scale = *scale_;
  const IntegerGrid integers = integers_of(scale, settings_.grid);
  const at::Tensor y = values_of(x).clone(at::MemoryFormat::Contiguous);
  float* values = y.mutable_data_ptr<float>();
  std::atomic<bool> finite = true;
  in_pieces(y.numel(), [&](int64_t begin, int64_t size) {
    if (!round_to_integers(values + begin, size, integers)) finite = false;
  });
  if (!finite && records) return nowhere(x);
  if (!finite) {
    throw Error(ErrorCode::kNonFinite,
                fmt::format("activation {}: a value is not finite and has no integer", point_));
  }
  if (!records) return y;
  return record(y, {x}, [this, x, scale](const at::Tensor& dy) -> std::vector<at::Tensor> {
    return {gradient_of(values_of(x).contiguous(), dy, scale)};
  });
}

at::Tensor ActivationQuantizer::gradient_of(const at::Tensor& x, const at::Tensor& dy,
                                            const AffineScale& scale) {
  if (learned_) {
    const ClipRange ends = covered_by(scale, settings_.grid);
    const at::Tensor below = x.le(ends.low), above = x.ge(ends.high);
    const at::Tensor zero = at::zeros_like(dy);
    end_gradients_.push_back({at::where(below, dy, zero).sum(at::kDouble).item<double>(),
                              at::where(above, dy, zero).sum(at::kDouble).item<double>()});
    return at::where(below | above, zero, dy);
  }
  if (!settings_.clip_gradients) return dy;
  const at::Tensor dx = dy.clone(at::MemoryFormat::Contiguous);
  const float* values = x.const_data_ptr<float>();
  float* gradient = dx.mutable_data_ptr<float>();
  const IntegerGrid integers = integers_of(scale, settings_.grid);
  in_pieces(dx.numel(), [&](int64_t begin, int64_t size) {
    clip_to_integers(values + begin, gradient + begin, size, integers);
  });
  return dx;
}

void ActivationQuantizer::begin_learning() {
  const ClipRange ends = covered_by(*scale_, settings_.grid);
  const at::Tensor magnitudes =
      settings_.grid.symmetric ? at::tensor({ends.high}) : at::tensor({-ends.low, ends.high});
  learned_.emplace(LearnedEnds{magnitudes, ScaleOptimizer(magnitudes.numel())});
}

ClipRange ActivationQuantizer::learned_range() const {
  const std::vector<float> magnitudes = floats_of(learned_->magnitudes);
  return {-magnitudes.front(), magnitudes.back()};
}

void ActivationQuantizer::batch_ends(bool counts, const std::array<double, 2>& end_gradient) {
  if (counts && learned_) {
    const auto low = static_cast<float>(-end_gradient[0]);
    const auto high = static_cast<float>(end_gradient[1]);
    learned_->optimizer.update(
        settings_.grid.symmetric ? at::tensor({low + high}) : at::tensor({low, high}),
        settings_.rate, learned_->magnitudes);
    scale_ = scale_of(learned_range(), settings_.grid);
  } else if (counts) {
    observer_.update(batch_);
    if (observer_.has_range()) scale_ = observer_.scale();
    if (rounding_ && settings_.learns_ends && scale_) begin_learning();
  }
  batch_ = observer_.batch();
  end_gradients_.clear();
}

nlohmann::json ActivationQuantizer::save() const {
  nlohmann::json saved = {{"point", point_},
                          {"bits", settings_.grid.bits},
                          {"symmetric", settings_.grid.symmetric},
                          {"observer", nlohmann::json::parse(observer_.save())}};
  if (scale_) {
    saved["scale"] = scale_->scale;
    saved["zero_point"] = scale_->zero_point;
  }
  if (!learned_) return saved;
  nlohmann::json state;
  for (const NamedTensor& tensor : learned_->optimizer.state()) {
    const at::Tensor wide = tensor.value.to(at::kDouble);
    const double* data = wide.const_data_ptr<double>();
    state[tensor.name] = std::vector<double>(data, data + wide.numel());
  }
  saved["learned"] = {{"magnitudes", floats_of(learned_->magnitudes)}, {"optimizer", state}};
  return saved;
}

void ActivationQuantizer::load(const nlohmann::json& saved) {
  const at::NoGradGuard no_grad;
  observer_.load(saved.at("observer").dump());
  scale_.reset();
  learned_.reset();
  if (saved.contains("scale")) {
    scale_ = AffineScale{saved.at("scale").get<float>(), saved.at("zero_point").get<int64_t>()};
  }
  if (!saved.contains("learned")) return;
  const nlohmann::json& learned = saved.at("learned");
  const at::Tensor magnitudes = at::tensor(learned.at("magnitudes").get<std::vector<float>>());
  learned_.emplace(LearnedEnds{magnitudes, ScaleOptimizer(magnitudes.numel())});
  for (const NamedTensor& tensor : learned_->optimizer.state()) {
    const auto values = learned.at("optimizer").at(tensor.name).get<std::vector<double>>();
    at::Tensor target = tensor.value;
    target.copy_(at::tensor(values));
  }
}

}  // namespace wattle
