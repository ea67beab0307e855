#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "common/config/schema.h"
#include "compression/activations/activation_options.h"
#include "compression/distil/distil_options.h"
#include "compression/posttraining/gptq_section.h"
#include "compression/ranges/weight_range_options.h"
#include "compression/scale_choices.h"
#include "compression/widths/width_options.h"
#include "trainer/state/precision.h"

namespace wattle {

/// What weights are quantised to.
enum class WeightTargetType {
  kGgufQ4_0,
  kGgufQ4_1,
  kGgufQ8_0,
  kGgufQ6K,
  kGgufTq2_0,
  kInt8,
  kInt16,
  kInt4,
  kInt2,
  kTernary,
  kFp8
};

/// What becomes of the token embedding and of a language model's output layer.
enum class EmbeddingFormat { kAuto, kMixed, kTarget, kFloat };

/// With which post-training quantisation a run is compared.
enum class BaselineKind { kNone, kNearest, kGptq };

/// `quantize:` of an entry of `compression`: quantisation-aware training of weights, and
/// of activations where it has them.
struct QuantizeOptions {
  WeightTargetType target = WeightTargetType::kGgufQ4_0;
  std::vector<std::string> targets;
  EmbeddingFormat embeddings = EmbeddingFormat::kAuto;
  int64_t begin_step = 0;
  std::optional<int64_t> end_step;
  bool clip_gradients = false;
  SharingChoice scales = SharingChoice::kAuto;
  int64_t group_size = 32;
  bool symmetric = true;
  ScaleLearning learn = ScaleLearning::kNone;
  double scale_lr = 1e-3;
  std::optional<int64_t> freeze_observers_step;
  bool fold_batch_norm = true;
  std::optional<int64_t> freeze_batch_norm_step;
  ObserverOptions observer;
  std::optional<ActivationOptions> activations;
  std::optional<GptqSection> gptq;
  // What the report measures, which changes nothing of the run.
  BaselineKind baseline = BaselineKind::kNearest;
  std::optional<std::string> float_run;
  int64_t calibration_samples = 128;
  std::optional<int64_t> effect_samples;
  std::optional<double> energy_seconds;
  std::optional<WidthOptions> widths;
  std::optional<WeightRangeOptions> weight_ranges;

  void describe(Fields& f);
  void describe_scales(Fields& f);
  void describe_activations(Fields& f);
  void describe_report(Fields& f);

  bool is_gguf() const;
  /// The same without what only the report looks at: what two equal runs have in common.
  QuantizeOptions of_training() const;
  /// Whether training samples are looked at besides training.
  bool needs_samples() const { return gptq || widths || baseline == BaselineKind::kGptq; }
  /// Samples for the effect on the loss: one of tokens scores many positions, a row or an image
  /// one.
  int64_t resolved_effect_samples(bool are_tokens) const {
    return effect_samples.value_or(are_tokens ? 2 : 128);
  }
  ScaleSharing resolved_scales() const;
  EmbeddingFormat resolved_embeddings() const;
  /// Steps done before activations are rounded.
  int64_t activation_step() const { return activations->begin_step.value_or(begin_step); }
  /// Whether the model that `steps` steps end with is deployed quantised. What begins at the last
  /// of them is post-training quantisation; what would end there doesn't.
  bool deployed_after(int64_t steps) const {
    return begin_step <= steps && (!end_step || *end_step >= steps);
  }
  /// Whether step `step` (from 0) runs on quantised weights.
  bool active_at(int64_t step) const {
    return step >= begin_step && (!end_step || step < *end_step);
  }
};

/// One entry of the list `compression`: exactly one of its keys.
struct CompressionEntry {
  std::optional<QuantizeOptions> quantize;
  std::optional<DistilOptions> distil;

  void describe(Fields& f);
};

/// Checks the list against the precision of training, whose rounding comes after the entries' own.
/// Throws nothing: what is wrong goes to `c`, under "compression.N".
void check_compression(const std::vector<CompressionEntry>& entries, Precision precision,
                       Checker& c);

/// The name of entry `index` if it quantises: "compression.0.quantize", the key of its section in a
/// checkpoint and its place in the file.
std::string quantize_name(size_t index);
/// Of its activations: "compression.0.activations".
std::string activations_name(size_t index);

/// The name of the weight format, as make_weight_format() reads it: "gguf:q4_0", "int8:channel".
std::string format_name(const QuantizeOptions& options);

}  // namespace wattle
