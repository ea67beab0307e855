#include "scheduler/core/profile/power_curve.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace wattle::scheduler {
namespace {

/// How much of the error is forgiven a parameter far from the prior, against a sample's squared
/// relative error: one per cent of error is worth a move of a tenth of the range.
constexpr double kPriorWeight = 0.01;

double shape(double limit_watts, double p0_watts, double saturation_watts) {
  const double span = std::max(1e-9, saturation_watts - p0_watts);
  const double ratio = std::clamp((limit_watts - p0_watts) / span, 0.0, 1.0);
  return std::cbrt(ratio);
}

struct Fit {
  PowerCurve curve;
  double error = 0;
};

/// T_max follows in closed form from the least squares of (T_max·shape - T)/T.
Fit fit_shape(double p0, double saturation, std::span<const LimitSample> samples) {
  double numerator = 0, denominator = 0;
  for (const LimitSample& s : samples) {
    const double ratio = shape(s.limit_watts, p0, saturation) / s.units_per_second;
    numerator += ratio;
    denominator += ratio * ratio;
  }
  Fit fit{{numerator / std::max(denominator, 1e-300), p0, saturation}, 0};
  for (const LimitSample& s : samples) {
    const double error = fit.curve.throughput(s.limit_watts) / s.units_per_second - 1;
    const double draw = s.watts / fit.curve.draw(s.limit_watts) - 1;
    fit.error += error * error + 0.1 * draw * draw;
  }
  return fit;
}

}  // namespace

double PowerCurve::throughput(double limit_watts) const {
  return t_max * shape(limit_watts, p0_watts, saturation_watts);
}

double PowerCurve::draw(double limit_watts) const {
  return std::min(limit_watts, saturation_watts);
}

PowerCurve prior_curve(const DeviceType& type) {
  const double range = type.max_limit_watts - type.min_limit_watts;
  return {1.0, std::min(type.idle_watts, 0.5 * type.min_limit_watts),
          type.min_limit_watts + 0.9 * range};
}

PowerCurve fit_curve(const DeviceType& type, std::span<const LimitSample> samples) {
  const PowerCurve prior = prior_curve(type);
  if (samples.empty()) return prior;
  constexpr int kSteps = 40;
  const double p0_top = 0.98 * samples.front().limit_watts;
  const double low = std::min(type.idle_watts, samples.front().watts);
  const double scale = std::max(1.0, type.max_limit_watts - type.idle_watts);
  Fit best{prior, std::numeric_limits<double>::infinity()};
  for (int i = 0; i <= kSteps; ++i) {
    const double saturation = low + (type.max_limit_watts - low) * (i + 1) / (kSteps + 1);
    for (int k = 0; k < kSteps; ++k) {
      const double p0 = std::min(p0_top, 0.98 * saturation) * k / kSteps;
      Fit fit = fit_shape(p0, saturation, samples);
      const double moved =
          (std::abs(p0 - prior.p0_watts) + std::abs(saturation - prior.saturation_watts)) / scale;
      fit.error += kPriorWeight * moved * moved;
      if (fit.error < best.error) best = fit;
    }
  }
  return best.curve;
}

Performance performance_at(const PowerCurve& fit, std::span<const LimitSample> samples,
                           double limit_watts) {
  const Basis fitted = samples.empty() ? Basis::kPrior : Basis::kFitted;
  Performance p{fit.throughput(limit_watts), fit.draw(limit_watts),
                samples.empty() ? 0.3 : 0.12 / static_cast<double>(samples.size()), fitted};
  auto above = std::find_if(samples.begin(), samples.end(), [&](const LimitSample& s) {
    return s.limit_watts >= limit_watts - 0.5;
  });
  if (above == samples.end()) return p;
  const bool exact = std::abs(above->limit_watts - limit_watts) <= 0.5;
  const bool between = above != samples.begin() && samples.size() >= kMeasuredLimits;
  if (!exact && !between) return p;
  const LimitSample& low = exact ? *above : *(above - 1);
  const double width = above->limit_watts - low.limit_watts;
  const double share = width > 0 ? (limit_watts - low.limit_watts) / width : 0;
  p.units_per_second = std::lerp(low.units_per_second, above->units_per_second, share);
  p.watts = std::lerp(low.watts, above->watts, share);
  const double weight = std::min(low.weight, above->weight);
  const double variance = above->weight > 1 ? above->square_deviation / (above->weight - 1) : 0;
  p.uncertainty = std::max(std::sqrt(variance / weight) / std::max(1e-300, p.units_per_second),
                           0.05 / std::sqrt(weight));
  p.basis = Basis::kMeasured;
  return p;
}

}  // namespace wattle::scheduler
