#pragma once

#include <ATen/core/Tensor.h>

#include "common/error.h"

namespace wattle {

/// The numbers of a weight as the formats take it: float32, contiguous, on the CPU. Throws
/// Error(kInternal) otherwise.
inline const float* weight_data(const at::Tensor& values) {
  if (!values.is_cpu() || values.scalar_type() != at::kFloat || !values.is_contiguous()) {
    throw Error(ErrorCode::kInternal,
                std::string("expected a contiguous float32 weight on the CPU, got ") +
                    c10::toString(values.scalar_type()) + " on " + values.device().str());
  }
  return values.const_data_ptr<float>();
}

inline float* mutable_weight(at::Tensor& values) {
  weight_data(values);
  return values.mutable_data_ptr<float>();
}

}  // namespace wattle
