#include "compression/calibration/range_statistics.h"

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <limits>
#include <mutex>
#include <nlohmann/json.hpp>

#include "common/error.h"

namespace wattle {
namespace {

struct Extremes {
  float low = std::numeric_limits<float>::infinity();
  float high = -std::numeric_limits<float>::infinity();
  bool finite = true;
};

bool is_finite(float value) {
  constexpr uint32_t kExponent = 0x7f800000;
  return (std::bit_cast<uint32_t>(value) & kExponent) != kExponent;
}

Extremes extremes_of(const float* values, int64_t size) {
  Extremes all;
  std::mutex mutex;
  at::parallel_for(0, size, 1 << 15, [&](int64_t begin, int64_t end) {
    Extremes mine;
    for (int64_t i = begin; i < end; ++i) {
      mine.low = values[i] < mine.low ? values[i] : mine.low;
      mine.high = values[i] > mine.high ? values[i] : mine.high;
      mine.finite &= is_finite(values[i]);
    }
    const std::lock_guard lock(mutex);
    all = {std::min(all.low, mine.low), std::max(all.high, mine.high), all.finite && mine.finite};
  });
  // Which zero a minimum of both finds depends on their order.
  return {all.low + 0.0f, all.high + 0.0f, all.finite};
}

[[noreturn]] void refuse(const at::Tensor& values, const std::string& tensor) {
  const at::Tensor flat = values.reshape({-1});
  for (int64_t i = 0; i < flat.numel(); ++i) {
    const auto value = flat[i].item<double>();
    if (is_finite(static_cast<float>(value))) continue;
    const int64_t per_sample = values.dim() > 0 ? flat.numel() / values.size(0) : 1;
    throw Error(ErrorCode::kNonFinite,
                fmt::format("calibration: {}: value {} of row {} is {}, expected a finite number",
                            tensor, i % per_sample, i / per_sample, value));
  }
  throw Error(ErrorCode::kInternal, "calibration: " + tensor + ": a value was not finite");
}

}  // namespace

RangeStatistics::RangeStatistics(bool with_histogram) {
  if (with_histogram) histogram_.emplace();
}

void RangeStatistics::add(const at::Tensor& values, const std::string& tensor) {
  if (!try_add(values)) refuse(values.detach(), tensor);
}

bool RangeStatistics::try_add(const at::Tensor& values) {
  if (values.numel() == 0) return true;
  const at::Tensor floats = values.detach().to(at::kFloat).contiguous();
  const float* data = floats.const_data_ptr<float>();
  const Extremes found = extremes_of(data, floats.numel());
  if (!found.finite) return false;
  low_ = empty() ? found.low : std::min(low_, found.low);
  high_ = empty() ? found.high : std::max(high_, found.high);
  values_ += floats.numel();
  if (histogram_) {
    histogram_->widen(ValueHistogram::exponent_for(std::max(-found.low, found.high)));
    histogram_->count(data, floats.numel());
  }
  return true;
}

void RangeStatistics::merge(const RangeStatistics& other) {
  if (other.empty()) return;
  low_ = empty() ? other.low_ : std::min(low_, other.low_);
  high_ = empty() ? other.high_ : std::max(high_, other.high_);
  values_ += other.values_;
  if (histogram_ && other.histogram_) histogram_->merge(*other.histogram_);
}

std::string RangeStatistics::save() const {
  nlohmann::json json = {{"values", values_}, {"low", low_}, {"high", high_}};
  if (histogram_) {
    const auto [first, last] = histogram_->occupied();
    const auto& counts = histogram_->counts();
    json["histogram"] = {
        {"exponent", histogram_->exponent()},
        {"first", first},
        {"counts", std::vector<int64_t>(counts.begin() + first, counts.begin() + last)}};
  }
  return json.dump();
}

void RangeStatistics::load(const std::string& text) {
  const auto json = nlohmann::json::parse(text);
  values_ = json.at("values");
  low_ = json.at("low");
  high_ = json.at("high");
  histogram_.reset();
  if (!json.contains("histogram")) return;
  const auto& saved = json.at("histogram");
  histogram_.emplace().widen(saved.at("exponent"));
  const std::vector<int64_t> counts = saved.at("counts");
  const int64_t first = saved.at("first");
  if (first < 0 || first + static_cast<int64_t>(counts.size()) > ValueHistogram::kBins) {
    throw Error(ErrorCode::kFormat, "calibration: a saved histogram has bins that do not exist");
  }
  std::ranges::copy(counts, histogram_->counts().begin() + first);
}

void RangeStatistics::merge_extremes(std::span<RangeStatistics* const> statistics,
                                     Communicator& ranks) {
  constexpr double kNothing = -std::numeric_limits<double>::infinity();
  at::Tensor maxima = at::empty({static_cast<int64_t>(statistics.size()), 3}, at::kDouble);
  double* most = maxima.mutable_data_ptr<double>();
  for (const RangeStatistics* s : statistics) {
    *most++ = s->empty() ? kNothing : -s->low_;
    *most++ = s->empty() ? kNothing : s->high_;
    *most++ = s->histogram_ ? s->histogram_->exponent() : kNothing;
  }
  ranks.all_reduce(maxima, ReduceOp::kMax);
  most = maxima.mutable_data_ptr<double>();
  for (RangeStatistics* s : statistics) {
    if (most[1] != kNothing) {
      s->low_ = static_cast<float>(-most[0]);
      s->high_ = static_cast<float>(most[1]);
    }
    if (s->histogram_) s->histogram_->widen(static_cast<int>(most[2]));
    most += 3;
  }
}

void RangeStatistics::merge_counts(std::span<RangeStatistics* const> statistics,
                                   Communicator& ranks) {
  int64_t size = 0;
  for (const RangeStatistics* s : statistics) {
    size += 1 + (s->histogram_ ? ValueHistogram::kBins : 0);
  }
  at::Tensor sums = at::empty({size}, at::kLong);
  int64_t* sum = sums.mutable_data_ptr<int64_t>();
  for (const RangeStatistics* s : statistics) {
    *sum++ = s->values_;
    if (s->histogram_) sum = std::ranges::copy(s->histogram_->counts(), sum).out;
  }
  ranks.all_reduce(sums, ReduceOp::kSum);
  sum = sums.mutable_data_ptr<int64_t>();
  for (RangeStatistics* s : statistics) {
    s->values_ = *sum++;
    if (!s->histogram_) continue;
    std::copy_n(sum, ValueHistogram::kBins, s->histogram_->counts().begin());
    sum += ValueHistogram::kBins;
  }
}

void all_reduce(std::span<RangeStatistics* const> statistics, Communicator& ranks) {
  if (statistics.empty() || ranks.size() == 1) return;
  RangeStatistics::merge_extremes(statistics, ranks);
  RangeStatistics::merge_counts(statistics, ranks);
}

}  // namespace wattle
