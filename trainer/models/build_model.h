#pragma once

#include <c10/core/ScalarType.h>

#include <cstdint>

#include "trainer/models/model_options.h"
#include "trainer/nn/model.h"

namespace wattle {

/// The model that the options describe, on the CPU, with initial values that are a function of the
/// seed and of each parameter's name and shape. `dtype`: of the working values, float32, float64 or
/// bfloat16. Throws Error(kConfig) for family from_file, whose shape is not known here.
Model build_model(const ModelOptions& options, uint64_t seed, at::ScalarType dtype = at::kFloat);

}  // namespace wattle
