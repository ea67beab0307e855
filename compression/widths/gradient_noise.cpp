#include "compression/widths/gradient_noise.h"

#include <ATen/ops/zeros.h>
#include <fmt/format.h>

#include <algorithm>
#include <limits>

#include "common/error.h"
#include "compression/formats/weight_checks.h"

namespace wattle {
namespace {

/// `count` places of `numel`, without the pattern that equal distances would make with rows.
std::vector<int64_t> places_in(int64_t numel, int64_t count) {
  constexpr uint64_t kGoldenRatio = 0x9e3779b97f4a7c15u;  // its fraction, times 2^64
  std::vector<int64_t> places(std::min(numel, count));
  for (size_t i = 0; i < places.size(); ++i) {
    const unsigned __int128 spread =
        static_cast<unsigned __int128>(i * kGoldenRatio) * static_cast<unsigned __int128>(numel);
    places[i] = count >= numel ? static_cast<int64_t>(i) : static_cast<int64_t>(spread >> 64);
  }
  return places;
}

}  // namespace

double GradientNoiseReading::scale() const {
  return mean_square > 0 ? variance / mean_square : std::numeric_limits<double>::infinity();
}

GradientNoise::GradientNoise(std::string name, const std::vector<int64_t>& indices,
                             const std::vector<Parameter*>& parameters, int64_t values)
    : name_(std::move(name)), steps_(at::zeros({1}, at::kDouble)) {
  for (const int64_t index : indices) {
    const Parameter& parameter = *parameters.at(index);
    Followed followed{
        index, parameter.name(),           places_in(parameter.value().numel(), values), {},
        {},    at::zeros({1}, at::kDouble)};
    followed.sum = at::zeros({static_cast<int64_t>(followed.places.size())}, at::kFloat);
    followed_.push_back(std::move(followed));
  }
}

const GradientNoise::Followed* GradientNoise::find(int64_t index) const {
  const auto found = std::ranges::find(followed_, index, &Followed::index);
  return found == followed_.end() ? nullptr : &*found;
}

bool GradientNoise::applies_to(int64_t index, const Parameter&) const {
  return find(index) != nullptr;
}

void GradientNoise::transform_gradient(int64_t index, const at::Tensor&, at::Tensor& gradient) {
  const float* g = weight_data(gradient);
  Followed& followed = *std::ranges::find(followed_, index, &Followed::index);
  followed.pending.clear();
  for (const int64_t place : followed.places) followed.pending.push_back(g[place]);
}

void GradientNoise::end_step(bool updated) {
  for (Followed& followed : followed_) {
    if (updated && !followed.pending.empty()) {
      float* sum = followed.sum.mutable_data_ptr<float>();
      double& squares = *followed.squares.mutable_data_ptr<double>();
      for (size_t i = 0; i < followed.pending.size(); ++i) {
        sum[i] += followed.pending[i];
        squares += static_cast<double>(followed.pending[i]) * followed.pending[i];
      }
    }
    followed.pending.clear();
  }
  if (updated) *steps_.mutable_data_ptr<double>() += 1;
}

int64_t GradientNoise::steps() const {
  return static_cast<int64_t>(*steps_.const_data_ptr<double>());
}

GradientNoiseReading GradientNoise::reading(int64_t index) const {
  const Followed* followed = find(index);
  const auto n = static_cast<double>(steps());
  if (followed == nullptr || n < 2) {
    throw Error(
        ErrorCode::kInternal,
        fmt::format("{}: {} steps of parameter {} are known, expected at least 2 of one that "
                    "is followed",
                    name_, n, index));
  }
  double square_of_sum = 0;
  const float* sum = followed->sum.const_data_ptr<float>();
  for (int64_t i = 0; i < followed->sum.numel(); ++i) {
    square_of_sum += static_cast<double>(sum[i]) * sum[i];
  }
  GradientNoiseReading reading{.values = followed->sum.numel()};
  const double squares = *followed->squares.const_data_ptr<double>();
  reading.variance = std::max(0.0, (squares - square_of_sum / n) / (n - 1));
  reading.mean_square = std::max(0.0, square_of_sum / (n * n) - reading.variance / n);
  return reading;
}

void GradientNoise::begin_window() {
  for (Followed& followed : followed_) {
    followed.sum.zero_();
    followed.squares.zero_();
  }
  steps_.zero_();
}

std::vector<NamedTensor> GradientNoise::state() {
  std::vector<NamedTensor> tensors = {{"steps", steps_}};
  for (const Followed& followed : followed_) {
    tensors.push_back({"sum." + followed.parameter, followed.sum});
    tensors.push_back({"squares." + followed.parameter, followed.squares});
  }
  return tensors;
}

}  // namespace wattle
