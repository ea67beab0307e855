#pragma once

#include <cstdint>

#include "common/config/schema.h"
#include "compression/calibration/range_observer.h"

namespace wattle {

/// `weight_ranges:` of a quantize entry with an integer target: how the range of each scale follows
/// from the weight's values, and how often it is looked at.
struct WeightRangeOptions {
  ObserverOptions observer{.kind = ObserverKind::kMinMax};
  int64_t every = 20;

  void describe(Fields& f);
};

}  // namespace wattle
