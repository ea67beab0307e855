#pragma once

#include <span>
#include <vector>

#include "scheduler/core/domain/operating_point.h"

namespace wattle::scheduler {

/// What was seen under one limit: per device, averaged over the intervals seen.
struct LimitSample {
  double limit_watts = 0;
  double units_per_second = 0;
  double watts = 0;             ///< drawn
  double weight = 0;            ///< intervals that went in
  double square_deviation = 0;  ///< sum over the intervals, of units_per_second
};

/// Throughput and draw of a job on one device type as a function of the power limit (ENERGY.md):
///   T(L) = T_max · min(1, ((L - P0) / (L_sat - P0))^(1/3)),   P = P_s + c·f³ with f ∝ T,
/// so that the draw follows the limit up to L_sat and stays there.
struct PowerCurve {
  double t_max = 0;
  double p0_watts = 0;
  double saturation_watts = 0;  ///< L_sat; also the draw of an uncapped job

  double throughput(double limit_watts) const;
  double draw(double limit_watts) const;
};

/// The curve of a device of which nothing but its type is known, with T_max = 1.
PowerCurve prior_curve(const DeviceType& type);

/// The curve that fits the samples best: least squares of the relative error of T and, where the
/// device throttles, of the draw. Parameters that too few samples can't tell stay near the prior.
PowerCurve fit_curve(const DeviceType& type, std::span<const LimitSample> samples);

/// Measured points take over from the curve when there are this many limits.
inline constexpr size_t kMeasuredLimits = 4;

/// Throughput and draw at a limit, from samples sorted by limit: between measured limits linear
/// once there are kMeasuredLimits of them, and by `fit` otherwise and beyond both ends.
Performance performance_at(const PowerCurve& fit, std::span<const LimitSample> samples,
                           double limit_watts);

}  // namespace wattle::scheduler
