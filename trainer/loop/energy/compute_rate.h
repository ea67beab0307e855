#pragma once

#include <c10/core/ScalarType.h>

#include <cstdint>

#include "trainer/models/model_options.h"
#include "trainer/nn/model.h"

namespace wattle {

/// Floating-point operations a second of large matrix products of this type with the threads that
/// the process has: the best of a few of 768 x 768, about 50 ms in all. What `mfu` is a share of.
double measure_matmul_rate(at::ScalarType type, at::Device device);

/// Floating-point operations of forward and backward for one token (models of text) or one sample,
/// counting matrix products alone: 6 per weight and use, and 12 * layers * width * sequence for
/// attention (Chowdhery et al. 2022, PaLM, appendix B). Convolutions are not counted: 0 for models
/// that are made of them.
double training_flops(const Model& model, const ModelOptions& options, int64_t sequence_length);

}  // namespace wattle
