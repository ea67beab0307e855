#include "compression/widths/assign_widths.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/round.h>
#include <gmock/gmock.h>

#include <cmath>
#include <limits>

#include "compression/ranges/weight_ranges.h"
#include "parallel/communicators/threads/thread_communicator.h"
#include "tests/compression/compression_support.h"
#include "tests/compression/image_support.h"
#include "trainer/nn/graph/activation_point.h"
#include "trainer/nn/layers/norm_fold.h"

namespace wattle {
namespace {

using support::Images;

const std::vector<std::string> kFormats = {"int2:channel", "int4:channel", "int8:channel"};

QuantizeOptions options_with(int64_t budget_bytes) {
  QuantizeOptions options;
  options.target = WeightTargetType::kInt8;
  options.widths.emplace();
  options.widths->formats = kFormats;
  options.widths->budget_bytes = budget_bytes;
  options.widths->samples = 12;
  return options;
}

/// A grid of activations that stays as it is.
class Eighths : public ActivationHook {
 public:
  at::Tensor apply(const at::Tensor& x) override { return at::round(x * 8) / 8; }
};

double loss_of(Model& model) {
  std::vector<int64_t> all = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11};
  return model.loss(Images().fetch(all), ForwardContext{}).loss.item<double>();
}

/// By how much the loss grows with one weight in a format, batch norm folded in as it is deployed.
double increase_by_hand(Model& model, const Weight& weight, const std::string& format,
                        const QuantizeOptions& options) {
  const double before = loss_of(model);
  at::Tensor value = weight.weight->value().detach();
  const at::Tensor kept = value.clone();
  const at::Tensor factor = fold_factor(weight.norm.value()).view({-1, 1, 1, 1});
  at::Tensor folded = (kept * factor).contiguous();
  std::optional<WeightScales> scales;
  if (options.weight_ranges) {
    scales = observed_scales(*parse_grid_format(format), options.weight_ranges->observer, folded,
                             nullptr);
  }
  make_weight_format(format)->fake_quantise(folded, scales ? &*scales : nullptr);
  value.copy_(folded / factor);
  const double increase = loss_of(model) - before;
  value.copy_(kept);
  return increase;
}

int64_t bytes_taken(const std::vector<WidthAssignment>& assignments) {
  int64_t bytes = 0;
  for (const WidthAssignment& one : assignments) bytes += one.readings[one.chosen].bytes;
  return bytes;
}

/// The least sum of increases within a budget, of all combinations.
double least_increase(const std::vector<WidthAssignment>& assignments, size_t from,
                      int64_t budget) {
  if (budget < 0) return std::numeric_limits<double>::infinity();
  if (from == assignments.size()) return 0;
  double least = std::numeric_limits<double>::infinity();
  for (const WidthReading& reading : assignments[from].readings) {
    least = std::min(least, reading.loss_increase +
                                least_increase(assignments, from + 1, budget - reading.bytes));
  }
  return least;
}

void check_against_all_combinations(Model& model, Communicator& world,
                                    const std::optional<WeightRangeOptions>& ranges = {}) {
  const Images images;
  const CalibrationSet calibration(images, 4, world);
  const at::Tensor before = model.weights.front().weight->value().clone();
  QuantizeOptions options = options_with(1);
  options.weight_ranges = ranges;
  const auto targets = weight_targets(options, model, "test");
  ASSERT_TRUE(targets.front().norm.has_value());
  int64_t least = 0, most = 0;
  for (const WeightTarget& target : targets) {
    for (const Weight& weight : model.weights) {
      if (weight.weight->name() != target.parameter) continue;
      least += make_weight_format(kFormats.front())->bytes_of(weight.weight->value().sizes());
      most += make_weight_format(kFormats.back())->bytes_of(weight.weight->value().sizes());
    }
  }
  for (const int64_t budget : {least, least + (most - least) / 4, (least + most) / 2, most}) {
    options.widths->budget_bytes = budget;
    ASSERT_EQ(widths_refusal(targets, model, options), "");
    const auto found = assign_widths(model, targets, options, calibration);
    ASSERT_EQ(found.size(), model.weights.size());
    double sum = 0;
    for (const WidthAssignment& one : found) sum += one.readings[one.chosen].loss_increase;
    EXPECT_LE(bytes_taken(found), budget);
    EXPECT_NEAR(sum, least_increase(found, 0, budget), 1e-12) << budget << " bytes";
    for (size_t f = 0; f < kFormats.size(); ++f) {
      EXPECT_NEAR(found.at(2).readings.at(f).loss_increase,
                  increase_by_hand(model, model.weights.at(2), kFormats[f], options), 1e-5)
          << kFormats[f];
    }
  }
  EXPECT_TRUE(at::equal(model.weights.front().weight->value(), before)) << "put back";
}

TEST(AssignWidths, OfFiltersWithBatchNormFoldedIsTheBestOfAllCombinations) {
  run_as_threads(1, [](Communicator& world) {
    Model model = support::resnet_with_statistics();
    check_against_all_combinations(model, world);
  });
}

TEST(AssignWidths, RoundsByTheObserverOfTheWeightsRanges) {
  run_as_threads(1, [](Communicator& world) {
    Model model = support::resnet_with_statistics();
    check_against_all_combinations(
        model, world, WeightRangeOptions{.observer = {.kind = ObserverKind::kLeastSquares}});
  });
}

TEST(AssignWidths, ABudgetOfJoulesOfTheSmallestFormatsGivesThose) {
  run_as_threads(1, [](Communicator& world) {
    Model model = support::resnet_with_statistics();
    const Images images;
    const CalibrationSet calibration(images, 4, world);
    QuantizeOptions options = options_with(1);
    const auto targets = weight_targets(options, model, "test");
    int64_t least = 0;
    for (const Weight& weight : model.weights) {
      least += make_weight_format(kFormats.front())->bytes_of(weight.weight->value().sizes());
    }
    options.widths->budget_bytes.reset();
    for (const double joules_per_byte : {1.3e-10, 1.4e-10, 1.6e-10, 1.7e-10, 2.1e-10, 3.9e-10}) {
      options.widths->joules_per_byte = joules_per_byte;
      options.widths->budget_joules = static_cast<double>(least) * joules_per_byte;
      ASSERT_EQ(widths_refusal(targets, model, options), "");
      EXPECT_EQ(bytes_taken(assign_widths(model, targets, options, calibration)), least);
      options.widths->budget_joules = std::nextafter(*options.widths->budget_joules, 0);
      EXPECT_NE(widths_refusal(targets, model, options), "");
    }
  });
}

TEST(AssignWidths, AFormatWhoseScalesCannotHoldAWeightIsNeverTaken) {
  run_as_threads(1, [](Communicator& world) {
    Model model = build_model(support::tiny_llama(), 1);
    const support::CountingText text(4);
    const CalibrationSet calibration(text, 2, world);
    QuantizeOptions options = options_with(1 << 20);
    options.target = WeightTargetType::kGgufQ4_0;
    options.embeddings = EmbeddingFormat::kTarget;
    options.widths->formats = {"gguf:q4_0", "gguf:q8_0"};
    options.widths->samples = 4;
    const auto targets = weight_targets(options, model, "test");
    const auto first =
        std::ranges::find(model.parameters, targets.front().parameter, &Parameter::name);
    at::Tensor value = (*first)->value().detach();
    value[3][5] = 1e6;  // of 8 steps a side: a scale beyond f16; of 127: within
    const at::Tensor before = value.clone();
    const WidthAssignment found = assign_widths(model, targets, options, calibration).front();
    EXPECT_EQ(found.readings.at(0).loss_increase, std::numeric_limits<double>::infinity());
    EXPECT_TRUE(std::isfinite(found.readings.at(1).loss_increase));
    EXPECT_EQ(found.chosen, 1);
    EXPECT_TRUE(at::equal(value, before)) << "put back";
  });
}

TEST(AssignWidths, ReadsTheLossWithRoundedActivations) {
  run_as_threads(1, [](Communicator& world) {
    Model model = support::resnet_with_statistics();
    Eighths eighths;
    for (ActivationPoint* point : model.activations) point->set_hook(&eighths);
    check_against_all_combinations(model, world);
  });
}

}  // namespace
}  // namespace wattle
