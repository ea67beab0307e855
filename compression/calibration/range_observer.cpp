#include "compression/calibration/range_observer.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "common/error.h"
#include "compression/calibration/clipping_search.h"

namespace wattle {
namespace {

bool needs_histogram(ObserverKind kind) {
  return kind != ObserverKind::kMinMax && kind != ObserverKind::kMovingAverage;
}

}  // namespace

const std::vector<std::pair<std::string, ObserverKind>>& observer_kinds() {
  static const std::vector<std::pair<std::string, ObserverKind>> kinds = {
      {"minmax", ObserverKind::kMinMax},
      {"ema", ObserverKind::kMovingAverage},
      {"percentile", ObserverKind::kPercentile},
      {"histogram", ObserverKind::kHistogram},
      {"mse", ObserverKind::kLeastSquares}};
  return kinds;
}

const char* name_of(ObserverKind kind) {
  for (const auto& [name, known] : observer_kinds()) {
    if (known == kind) return name.c_str();
  }
  throw Error(ErrorCode::kInternal, "unknown kind of observer");
}

RangeObserver::RangeObserver(const ObserverOptions& options, const AffineGrid& grid)
    : options_(options), grid_(grid), seen_(needs_histogram(options.kind)) {}

RangeStatistics RangeObserver::batch() const {
  return RangeStatistics(needs_histogram(options_.kind));
}

void RangeObserver::update(const RangeStatistics& batch) {
  if (batch.empty()) return;
  if (options_.kind == ObserverKind::kMovingAverage) {
    const double weight = batches_ == 0 ? 1 : options_.momentum;
    average_low_ += weight * (batch.low() - average_low_);
    average_high_ += weight * (batch.high() - average_high_);
  } else {
    seen_.merge(batch);
  }
  ++batches_;
}

ClipRange RangeObserver::range() const {
  if (!has_range()) {
    throw Error(ErrorCode::kInternal, "calibration: an observer was asked before its first batch");
  }
  switch (options_.kind) {
    case ObserverKind::kMinMax:
      return {std::min(0.0f, seen_.low()), std::max(0.0f, seen_.high())};
    case ObserverKind::kMovingAverage:
      return {std::min(0.0f, static_cast<float>(average_low_)),
              std::max(0.0f, static_cast<float>(average_high_))};
    case ObserverKind::kPercentile:
      return percentile_range(seen_, grid_, options_.percentile / 100);
    case ObserverKind::kHistogram:
      return least_information_loss_range(seen_, grid_);
    case ObserverKind::kLeastSquares:
      return least_squares_range(seen_, grid_);
  }
  throw Error(ErrorCode::kInternal, "unknown kind of observer");
}

std::string RangeObserver::save() const {
  nlohmann::json json = {{"kind", name_of(options_.kind)},
                         {"batches", batches_},
                         {"average", {average_low_, average_high_}},
                         {"seen", seen_.save()}};
  return json.dump();
}

void RangeObserver::load(const std::string& text) {
  try {
    const auto json = nlohmann::json::parse(text);
    if (json.at("kind") != name_of(options_.kind)) {
      throw Error(ErrorCode::kFormat,
                  fmt::format("calibration: the state of a {} observer, expected {}",
                              json.at("kind").dump(), name_of(options_.kind)));
    }
    batches_ = json.at("batches");
    average_low_ = json.at("average").at(0);
    average_high_ = json.at("average").at(1);
    seen_.load(json.at("seen"));
  } catch (const nlohmann::json::exception& e) {
    throw Error(ErrorCode::kFormat, fmt::format("calibration: no observer's state: {}", e.what()));
  }
}

}  // namespace wattle
