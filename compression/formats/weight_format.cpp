#include "compression/formats/weight_format.h"

#include <ATen/ops/ones_like.h>
#include <fmt/format.h>

#include <cmath>

#include "common/error.h"
#include "compression/formats/ggml_format.h"
#include "compression/formats/grid_format.h"
#include "compression/formats/weight_checks.h"

namespace wattle {

std::shared_ptr<const WeightFormat> make_weight_format(const std::string& name) {
  if (name == "gguf:q4_0") return make_ggml_format(DType::kQ4_0);
  if (name == "gguf:q4_1") return make_ggml_format(DType::kQ4_1);
  if (name == "gguf:q8_0") return make_ggml_format(DType::kQ8_0);
  if (name == "gguf:q6_k") return make_ggml_format(DType::kQ6_K);
  if (name == "gguf:tq2_0") return make_ggml_format(DType::kTQ2_0);
  if (const auto grid = parse_grid_format(name)) return make_grid_format(*grid);
  throw Error(
      ErrorCode::kConfig,
      fmt::format("'{}' is no weight format; expected gguf:q4_0, gguf:q4_1, gguf:q8_0, "
                  "gguf:q6_k, gguf:tq2_0, or int2, int4, int8, int16, ternary or fp8 with :tensor, "
                  ":channel or :groupN",
                  name));
}

QuantizationFigures figures_of(const WeightFormat& format, const at::Tensor& values,
                               const WeightScales* scales) {
  QuantizationFigures figures;
  figures.bytes = format.bytes_of(values.sizes());
  const auto count = static_cast<double>(values.numel());
  figures.bits_per_weight = 8.0 * static_cast<double>(figures.bytes) / count;
  const WeightScales used = scales ? *scales : format.scales_of(values);
  figures.mean_scale = used.scale.abs().mean(at::kDouble).item<double>();

  at::Tensor passes = at::ones_like(values);
  format.clip_gradient(values, scales, passes);
  figures.clipped_share = 1.0 - passes.sum(at::kDouble).item<double>() / count;

  at::Tensor rounded = values.clone();
  format.fake_quantise(rounded, scales);
  const float* x = weight_data(values);
  const float* y = weight_data(rounded);
  double signal = 0, noise = 0;
  for (int64_t i = 0; i < values.numel(); ++i) {
    const double difference = static_cast<double>(x[i]) - y[i];
    signal += static_cast<double>(x[i]) * x[i];
    noise += difference * difference;
  }
  figures.signal_to_noise_db = noise > 0 ? 10 * std::log10(signal / noise) : INFINITY;
  return figures;
}

}  // namespace wattle
