#pragma once

#include <string>

#include "compression/formats/weight_format.h"

namespace wattle {

/// "" or the first values that a format can't round by its own rule, and why: "row 3, element 70 is
/// nan, expected a finite weight", "row 3, elements 64 to 95: ...". An element is counted in its
/// row (of a filter: output channel).
std::string values_refusal(const WeightFormat& format, const at::Tensor& values);

/// The same for values that are to stay as they are.
std::string non_finite_refusal(const at::Tensor& values);

}  // namespace wattle
