#include "compression/compression_options.h"

#include <fmt/format.h>

#include <algorithm>

#include "common/config/config_file.h"
#include "common/error.h"
#include "compression/formats/grid_format.h"

namespace wattle {
namespace {

const std::vector<std::pair<std::string, WeightTargetType>>& target_names() {
  static const std::vector<std::pair<std::string, WeightTargetType>> names = {
      {"gguf:q4_0", WeightTargetType::kGgufQ4_0},
      {"gguf:q4_1", WeightTargetType::kGgufQ4_1},
      {"gguf:q8_0", WeightTargetType::kGgufQ8_0},
      {"gguf:q6_k", WeightTargetType::kGgufQ6K},
      {"gguf:tq2_0", WeightTargetType::kGgufTq2_0},
      {"int8", WeightTargetType::kInt8},
      {"int16", WeightTargetType::kInt16},
      {"int4", WeightTargetType::kInt4},
      {"int2", WeightTargetType::kInt2},
      {"ternary", WeightTargetType::kTernary},
      {"fp8", WeightTargetType::kFp8}};
  return names;
}

const std::string& name_of_target(WeightTargetType target) {
  for (const auto& [name, type] : target_names()) {
    if (type == target) return name;
  }
  throw Error(ErrorCode::kInternal, "unknown target of quantisation");
}

/// How many bits integers have; 0 for what is none.
int64_t bits_of(WeightTargetType target) {
  switch (target) {
    case WeightTargetType::kInt16:
      return 16;
    case WeightTargetType::kInt8:
      return 8;
    case WeightTargetType::kInt4:
      return 4;
    case WeightTargetType::kInt2:
      return 2;
    default:
      return 0;
  }
}

/// A step at which something of the entry changes lies within its steps.
void check_phase(const QuantizeOptions& o, const std::optional<int64_t>& step, const char* key,
                 Checker& c) {
  if (!step) return;
  c.require(*step >= o.begin_step, key,
            fmt::format("{} is before begin_step {}", *step, o.begin_step));
  c.require(!o.end_step || *step < *o.end_step, key,
            fmt::format("{} is not before end_step {}", *step, o.end_step.value_or(0)));
}

void check_weight_ranges(const QuantizeOptions& o, bool integers, Checker& c) {
  if (!o.weight_ranges) return;
  constexpr const char* kKey = "weight_ranges";
  if (!integers) {
    c.require(false, kKey,
              fmt::format("{}: the scales of {} follow from the format's own rule; only int2, "
                          "int4, int8 and int16 take an observer",
                          name_of_target(o.target), o.is_gguf() ? "each block" : "a weight"));
    return;
  }
  c.require(o.learn == ScaleLearning::kNone, kKey, "scales are learned or observed, not both");
  c.require(!o.gptq, kKey, "gptq fixes the scales that it rounded with; not both");
}

/// Each weight may get any of them.
void check_width_formats(const QuantizeOptions& o, Checker& c) {
  for (const std::string& format : o.widths ? o.widths->formats : std::vector<std::string>()) {
    c.require(o.is_gguf() == format.starts_with("gguf:"), "widths.formats",
              fmt::format("{} doesn't go with target {}", format, name_of_target(o.target)));
    const auto grid = parse_grid_format(format);
    const bool can_learn =
        grid && grid->kind == GridFormatOptions::Kind::kInteger && grid->symmetric;
    c.require(o.learn == ScaleLearning::kNone || can_learn, "widths.formats",
              fmt::format("{} has no scales that can be learned, as learn asks for; expected "
                          "symmetric integers",
                          format));
  }
}

// A resolved file gives every key: what tells is a value other than the default.

void check_scales(const QuantizeOptions& o, Checker& c) {
  const QuantizeOptions defaults;
  const bool integers = bits_of(o.target) > 0;
  const bool own_group = o.group_size != defaults.group_size;
  if (o.is_gguf()) {
    constexpr const char* kBlocks = "a gguf target's scales follow from each block";
    c.require(o.scales == defaults.scales, "scales", kBlocks);
    c.require(!own_group, "group_size", kBlocks);
    c.require(!o.freeze_observers_step, "freeze_observers_step", kBlocks);
  }
  c.require(o.is_gguf() || o.resolved_scales() == ScaleSharing::kGroup || !own_group, "group_size",
            "needs scales: group");
  c.require(o.symmetric || integers, "symmetric", "only integers have zero points");
  c.require(o.learn == ScaleLearning::kNone || (integers && o.symmetric), "learn",
            "needs a symmetric integer target");
  check_width_formats(o, c);
  check_weight_ranges(o, integers, c);
  if (o.gptq && o.fold_batch_norm && o.freeze_batch_norm_step > o.begin_step) {
    c.warn("gptq",
           fmt::format("fixes the scales of weights with batch norm folded in at begin_step "
                       "{}, before freeze_batch_norm_step {}: what is folded in still moves, "
                       "and the scales would clip it",
                       o.begin_step, *o.freeze_batch_norm_step));
  }
  c.require(!o.gptq || o.learn != ScaleLearning::kStep, "gptq",
            "fixes the scales that learn: step would begin anew; learn: clipping keeps them");
  c.require(o.learn != ScaleLearning::kNone || o.scale_lr == defaults.scale_lr, "scale_lr",
            "needs learn");
  c.require(o.learn == ScaleLearning::kNone || !o.clip_gradients, "clip_gradients",
            "learned scales clip gradients by themselves");
  check_phase(o, o.freeze_observers_step, "freeze_observers_step", c);
}

void check_batch_norm(const QuantizeOptions& o, Checker& c) {
  check_phase(o, o.freeze_batch_norm_step, "freeze_batch_norm_step", c);
  if (o.fold_batch_norm && o.freeze_observers_step && o.freeze_batch_norm_step &&
      *o.freeze_observers_step < *o.freeze_batch_norm_step) {
    c.warn("freeze_observers_step",
           fmt::format("{} comes before freeze_batch_norm_step {}: the scales would stand still "
                       "while what batch norm folds into the weights still moves, and clip them",
                       *o.freeze_observers_step, *o.freeze_batch_norm_step));
  }
  c.require(!o.is_gguf() || o.fold_batch_norm, "fold_batch_norm",
            "the models of a gguf target have no batch norm");
}

void check_activation_keys(const QuantizeOptions& o, Checker& c) {
  if (!o.activations) {
    const ObserverOptions defaults;
    constexpr const char* kNeeds = "needs activations: their ranges are what is observed";
    c.require(o.observer.kind == defaults.kind, "observer", kNeeds);
    c.require(o.observer.momentum == defaults.momentum, "observer_momentum", kNeeds);
    c.require(o.observer.percentile == defaults.percentile, "observer_percentile", kNeeds);
    return;
  }
  c.require(bits_of(o.target) == 8 || bits_of(o.target) == 16, "activations",
            "needs target int8 or int16");
  check_activations(*o.activations,
                    {o.begin_step, o.activation_step(), o.end_step, o.freeze_observers_step}, c);
}

/// A key that stands for something to come, so that a file that has it gets a clear answer.
void refuse(Fields& f, const std::string& key, const std::string& what) {
  std::string unused;
  Field& field = f(key, unused, what + ": not in this version, and refused");
  field.type = "section";
  field.default_text.clear();
  field.read = [what](const YAML::Node&) { return what + " is not in this version"; };
  field.present = [] { return false; };
}

}  // namespace

bool QuantizeOptions::is_gguf() const { return name_of_target(target).starts_with("gguf:"); }

EmbeddingFormat QuantizeOptions::resolved_embeddings() const {
  if (embeddings != EmbeddingFormat::kAuto) return embeddings;
  return is_gguf() ? EmbeddingFormat::kMixed : EmbeddingFormat::kFloat;
}

ScaleSharing QuantizeOptions::resolved_scales() const {
  if (scales == SharingChoice::kTensor) return ScaleSharing::kTensor;
  if (scales == SharingChoice::kChannel) return ScaleSharing::kChannel;
  if (scales == SharingChoice::kGroup) return ScaleSharing::kGroup;
  const bool coarse = target == WeightTargetType::kInt8 || target == WeightTargetType::kInt16 ||
                      target == WeightTargetType::kFp8;
  return coarse ? ScaleSharing::kChannel : ScaleSharing::kGroup;
}

void QuantizeOptions::describe(Fields& f) {
  f.choice("target", target, target_names(),
           "the format that weights are rounded to, bit for bit as the exported file holds them")
      .required();
  f("targets", targets,
    "which weights: names, parts of the model (blocks.0.attention), or re: and a regular "
    "expression for the whole name; none means all that multiply activations");
  f.choice("embeddings", embeddings,
           {{"auto", EmbeddingFormat::kAuto},
            {"mixed", EmbeddingFormat::kMixed},
            {"target", EmbeddingFormat::kTarget},
            {"float", EmbeddingFormat::kFloat}},
           "token embedding and output layer of a language model: mixed gives the output layer (or "
           "the embedding that it is tied to) the larger type that llama-quantize gives it; target "
           "treats them as the others (llama-quantize --pure); float leaves them out; auto is "
           "mixed for gguf and float otherwise");
  f("begin_step", begin_step, "steps done before weights are rounded").at_least(0).unit("steps");
  f("end_step", end_step, "steps done when rounding ends again; absent: never")
      .at_least(1)
      .unit("steps");
  f("clip_gradients", clip_gradients,
    "a value beyond the ends of its grid gets no gradient; otherwise gradients pass straight "
    "through");
  describe_scales(f);
  describe_activations(f);
  f("widths", widths,
    "where it stands, each weight gets one of several formats when rounding begins: a scan tries "
    "each weight in each of them, and the least increase of loss within the budget is taken");
  f("gptq", gptq,
    "where it stands, weights are rounded by GPTQ when rounding begins, from a pass over training "
    "samples, and trained on from there; with begin_step: train.steps it is post-training "
    "quantisation");
  describe_report(f);
  f.check([this](Checker& c) {
    check_scales(*this, c);
    check_batch_norm(*this, c);
    check_activation_keys(*this, c);
    c.require(!end_step || *end_step > begin_step, "end_step",
              fmt::format("{} is not after begin_step {}", end_step.value_or(0), begin_step));
    c.require(is_gguf() || embeddings != EmbeddingFormat::kMixed, "embeddings",
              "mixed is llama-quantize's way and needs a gguf target");
  });
}

void QuantizeOptions::describe_activations(Fields& f) {
  f("fold_batch_norm", fold_batch_norm,
    "weights are rounded after batch norm's running statistics are folded in, as they are "
    "deployed; no gguf target");
  f("freeze_batch_norm_step", freeze_batch_norm_step,
    "steps done when batch norm begins to use its running statistics in training too, and keeps "
    "them; absent: never")
      .at_least(0)
      .unit("steps");
  describe_observer(f, observer);
  f("activations", activations, "what flows between layers is rounded too; int8 and int16");
}

void QuantizeOptions::describe_report(Fields& f) {
  f.choice("baseline", baseline,
           {{"none", BaselineKind::kNone},
            {"nearest", BaselineKind::kNearest},
            {"gptq", BaselineKind::kGptq}},
           "with which quantisation after training the report compares: weights rounded to the "
           "nearest and ranges of activations calibrated; gptq: and weights by GPTQ too");
  f("float_run", float_run,
    "a run of the same training in float, as model.init_from: rounded after training, it is what "
    "the report says was gained over; absent: the one that float_run trains, or the report knows "
    "only this run's own float weights. One entry may name it")
      .type = kInputPath;
  f("calibration_samples", calibration_samples,
    "training samples on which that quantisation calibrates the ranges of activations, and this "
    "run "
    "those of activations that begin after its last step")
      .at_least(1);
  f("effect_samples", effect_samples,
    "training samples on which the report measures how much less the loss is with one weight in "
    "float and all others rounded, for each weight; 0: it doesn't")
      .at_least(0)
      .default_is("2 of tokens, 128 of rows and images");
  f("energy_seconds", energy_seconds,
    "how long the report measures inference, in float and rounded in turns; 0: it doesn't")
      .at_least(0)
      .unit("seconds")
      .default_is("a tenth of the run so far, at most 60");
}

QuantizeOptions QuantizeOptions::of_training() const {
  QuantizeOptions options = *this;
  const QuantizeOptions defaults;
  options.baseline = defaults.baseline;
  options.float_run = defaults.float_run;
  // Activations that begin after training have their ranges from them.
  if (!activations) options.calibration_samples = defaults.calibration_samples;
  options.effect_samples = defaults.effect_samples;
  options.energy_seconds = defaults.energy_seconds;
  return options;
}

void QuantizeOptions::describe_scales(Fields& f) {
  f.choice("scales", scales,
           {{"auto", SharingChoice::kAuto},
            {"tensor", SharingChoice::kTensor},
            {"channel", SharingChoice::kChannel},
            {"group", SharingChoice::kGroup}},
           "which values share a scale: all of a weight, an output channel, or a group within a "
           "row; auto is channel for int8, int16 and fp8, group for the others");
  f("group_size", group_size, "values of a group; divides every row").at_least(1);
  f("symmetric", symmetric, "no zero points");
  f.choice("learn", learn,
           {{"none", ScaleLearning::kNone},
            {"step", ScaleLearning::kStep},
            {"clipping", ScaleLearning::kClipping}},
           "what of the scales is learned by gradient: none, they follow from the values; step, "
           "the step size (LSQ); clipping, the ends alone (PACT)");
  f("scale_lr", scale_lr, "learning rate of learned scales, relative to the scale")
      .greater_than(0)
      .less_than(0.5);
  f("weight_ranges", weight_ranges,
    "how the range of a weight's scales follows from its values; int2, int4, int8 and int16; "
    "absent: the extremes, at every step");
  f("freeze_observers_step", freeze_observers_step,
    "steps done when scales stay as they are; absent: never")
      .at_least(0)
      .unit("steps");
}

void CompressionEntry::describe(Fields& f) {
  f("quantize", quantize, "quantisation-aware training of weights");
  f("distil", distil, "learning from a float model's outputs besides the data");
  refuse(f, "prune", "pruning");
}

namespace {

/// One loss is minimised at a time.
void check_teachers_take_turns(const std::vector<CompressionEntry>& entries, Checker& c) {
  for (size_t i = 0; i < entries.size(); ++i) {
    for (size_t before = 0; entries[i].distil && before < i; ++before) {
      if (!entries[before].distil) continue;
      const DistilOptions& one = *entries[before].distil;
      const DistilOptions& other = *entries[i].distil;
      const bool apart = (one.end_step && *one.end_step <= other.begin_step) ||
                         (other.end_step && *other.end_step <= one.begin_step);
      c.require(apart, distil_name(i),
                fmt::format("{} teaches at the same time, from step {} on", distil_name(before),
                            std::max(one.begin_step, other.begin_step)));
    }
  }
}

}  // namespace

void check_compression(const std::vector<CompressionEntry>& entries, Precision precision,
                       Checker& c) {
  check_teachers_take_turns(entries, c);
  bool has_float_run = false;
  for (size_t i = 0; i < entries.size(); ++i) {
    const int kinds = entries[i].quantize.has_value() + entries[i].distil.has_value();
    c.require(kinds == 1, fmt::format("compression.{}", i),
              kinds == 0 ? "is empty; expected quantize or distil"
                         : "has several kinds; expected an entry of the list for each");
    c.require(!entries[i].quantize || precision == Precision::kFp32, quantize_name(i),
              "needs train.precision: fp32; any other rounds the weights once more, so that the "
              "file would not hold those that training saw");
    const bool names_float_run = entries[i].quantize && entries[i].quantize->float_run;
    c.require(!names_float_run || !has_float_run, quantize_name(i) + ".float_run",
              "stands in an entry before already; it is compared with the whole model");
    has_float_run |= names_float_run;
  }
}

std::string activations_name(size_t index) {
  return fmt::format("compression.{}.activations", index);
}

std::string quantize_name(size_t index) { return fmt::format("compression.{}.quantize", index); }

std::string format_name(const QuantizeOptions& options) {
  if (options.is_gguf()) return name_of_target(options.target);
  GridFormatOptions format;
  format.kind = options.target == WeightTargetType::kTernary ? GridFormatOptions::Kind::kTernary
                : options.target == WeightTargetType::kFp8   ? GridFormatOptions::Kind::kFp8
                                                             : GridFormatOptions::Kind::kInteger;
  format.bits = bits_of(options.target);
  format.sharing = options.resolved_scales();
  format.group_size = options.group_size;
  format.symmetric = options.symmetric;
  return grid_format_name(format);
}

}  // namespace wattle
