#include "compression/widths/adaptive_widths.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/full.h>
#include <ATen/ops/zeros.h>
#include <gmock/gmock.h>

#include <nlohmann/json.hpp>

#include "tests/compression/compression_support.h"
#include "trainer/state/flat_parameters.h"

namespace wattle {
namespace {

using support::normal;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Optional;
using testing::SizeIs;

TEST(BetterWidths, TakesTheBestWithinTheBudget) {
  const std::vector<std::vector<WidthChoice>> weights = {{{1, 4}, {2, 0}}, {{1, 3}, {2, 0}}};
  EXPECT_THAT(better_widths(weights, {0, 1}, 3, 0.1), Optional(ElementsAre(1, 0)));
  EXPECT_EQ(better_widths(weights, {1, 0}, 3, 0.1), std::nullopt) << "they are the best";
  EXPECT_EQ(better_widths(weights, {0, 1}, 3, 0.3), std::nullopt) << "a quarter is too little";
}

TEST(BetterWidths, ATighterBudgetLowersWhateverItCosts) {
  const std::vector<std::vector<WidthChoice>> weights = {{{1, 4}, {2, 0}}, {{1, 3}, {2, 0}}};
  EXPECT_THAT(better_widths(weights, {1, 1}, 3, 0.9), Optional(ElementsAre(1, 0)));
  EXPECT_THAT(better_widths(weights, {1, 0}, 2, 1.2), Optional(ElementsAre(0, 0)));
  EXPECT_THAT(better_widths(weights, {0, 0}, 4, 0.1), Optional(ElementsAre(1, 1)));
}

TEST(AffordableEighths, AreOfWhatIsStillNeeded) {
  EXPECT_EQ(affordable_eighths(1000, 200, 800), 8);
  EXPECT_EQ(affordable_eighths(1000, 200, 801), 7);
  EXPECT_EQ(affordable_eighths(1000, 200, 1600), 4);
  EXPECT_EQ(affordable_eighths(1000, 990, 1600), 1);
  EXPECT_EQ(affordable_eighths(1000, 1200, 1600), 1);
}

/// Two weights of 64 x 64, which may have 4 or 8 bits, and room for one of 8.
class Adapting : public testing::Test {
 protected:
  static constexpr int64_t kNarrow = 64 * 64 / 2 + 128 * 4, kWide = 64 * 64 + 128 * 4;

  Adapting() : Adapting({64, 64}) {}
  explicit Adapting(const std::vector<int64_t>& rows) {
    const std::vector<std::string> names = {"one", "two", "three", "four", "five", "six"};
    for (size_t i = 0; i < rows.size(); ++i) {
      weights_.push_back(std::make_unique<Parameter>(names.at(i), normal({rows[i], 64}, 7),
                                                     LayerKind::kDense, true));
      model_.parameters.push_back(weights_.back().get());
    }
    const FlatLayout layout = layout_of(model_.parameters);
    flat_ = std::make_unique<FlatParameters>(model_.parameters, layout, at::zeros({layout.numel}),
                                             Precision::kFp32);
    options_.formats = {"int4:group32", "int8:group32"};
    options_.budget_bytes = kNarrow + kWide;
    options_.adapt.emplace().every = 4;
    quantizer_.emplace("q", targets(), model_.parameters, false);
  }
  std::vector<WeightTarget> targets() const {
    std::vector<WeightTarget> targets;
    for (const auto& weight : weights_) {
      targets.push_back(
          {weight->name(), make_weight_format(targets.empty() ? "int4:group32" : "int8:group32")});
    }
    return targets;
  }
  AdaptiveWidths widths(std::optional<double> budget_joules = {}) {
    std::vector<AdaptableWeight> weights;
    for (int64_t i = 0; i < weight_count(); ++i) {
      weights.push_back({i, model_.parameters[i]->name(), {}});
      for (const std::string& format : options_.formats) {
        weights.back().formats.push_back(make_weight_format(format));
      }
    }
    return {"entry", options_, weights, model_.parameters, budget_joules};
  }
  int64_t weight_count() const { return static_cast<int64_t>(weights_.size()); }
  /// Steps, with so much noise in the gradients of the first weight and of the others, that take so
  /// many joules each.
  std::vector<WidthChange> steps(AdaptiveWidths& widths, double one, double two, int64_t count = 4,
                                 double joules = 1) {
    std::vector<WidthChange> changes;
    for (int64_t i = 0; i < count; ++i, ++step_) {
      for (WidthChange& change : begin(widths)) changes.push_back(std::move(change));
      for (int64_t weight = 0; weight < weight_count(); ++weight) {
        at::Tensor gradient =
            normal(flat_->master_of(weight).sizes().vec(), 100 + 2 * step_ + weight) *
            (weight == 0 ? one : two);
        widths.noise().transform_gradient(weight, flat_->master_of(weight), gradient);
      }
      MetricsRecord record;
      record.energy_joules = joules;
      record.run_energy_joules = spent_ += joules;
      widths.step_ends(record);
    }
    return changes;
  }
  std::vector<WidthChange> begin(AdaptiveWidths& widths) {
    return widths.step_begins({model_, *flat_, step_, 100, 0, 1}, *quantizer_);
  }
  std::string format_of(int64_t index) { return quantizer_->target_of(index).format->name(); }
  /// In place of the other one, as a checkpoint brings it.
  AdaptiveWidths resumed(AdaptiveWidths& before) {
    AdaptiveWidths after = widths(60);
    after.load(before.save());
    after.load_energy(before.save_energy());
    const std::vector<NamedTensor> from = before.noise().state();
    std::vector<NamedTensor> to = after.noise().state();
    for (size_t i = 0; i < from.size(); ++i) to[i].value.copy_(from[i].value);
    return after;
  }

  std::vector<std::unique_ptr<Parameter>> weights_;
  Model model_;
  std::unique_ptr<FlatParameters> flat_;
  WidthOptions options_;
  std::optional<WeightQuantizer> quantizer_;
  int64_t step_ = 0;
  double spent_ = 0;
};

TEST_F(Adapting, TheWeightWithTheNoisierGradientGetsTheBits) {
  AdaptiveWidths adaptive = widths();
  EXPECT_THAT(steps(adaptive, 3, 1), IsEmpty()) << "a window isn't over";
  const std::vector<WidthChange> changes = begin(adaptive);
  ASSERT_THAT(changes, SizeIs(2));
  EXPECT_EQ(changes[0].parameter, "one");
  EXPECT_EQ(changes[0].from, "int4:group32");
  EXPECT_EQ(changes[0].to, "int8:group32");
  EXPECT_EQ(changes[0].step, 4);
  EXPECT_GT(changes[0].noise_scale, 1);
  EXPECT_EQ(format_of(0), "int8:group32");
  EXPECT_EQ(format_of(1), "int4:group32");
  EXPECT_THAT(begin(adaptive), IsEmpty()) << "the next window has begun";
  EXPECT_THAT(steps(adaptive, 3, 1), IsEmpty());
  EXPECT_THAT(begin(adaptive), IsEmpty()) << "nothing is better";
  EXPECT_THAT(steps(adaptive, 1, 3), IsEmpty());
  EXPECT_THAT(begin(adaptive), SizeIs(2));
  EXPECT_EQ(format_of(1), "int8:group32");
  EXPECT_THAT(adaptive.changes(), SizeIs(4));
}

TEST_F(Adapting, AllFormatsCountByTheSameRule) {
  AdaptiveWidths adaptive = widths();
  quantizer_->set_scales(1, {at::full({64 * 64 / 32}, 10.0f), {}});  // as learning might leave them
  EXPECT_THAT(steps(adaptive, 1, 3), IsEmpty());
  EXPECT_THAT(begin(adaptive), IsEmpty()) << "8 bits are where they count for most";
}

TEST_F(Adapting, TheRuleIsTheWeightsObserver) {
  options_.adapt->margin = 0;
  std::vector<WeightTarget> observed = targets();
  // Clips half of the values, in 8 bits as in 4.
  observed[1].observer = {.kind = ObserverKind::kPercentile, .percentile = 51};
  quantizer_.emplace("q", observed, model_.parameters, false);
  AdaptiveWidths adaptive = widths();
  EXPECT_THAT(steps(adaptive, 1, 2), IsEmpty());
  EXPECT_THAT(begin(adaptive), SizeIs(2));
  EXPECT_EQ(format_of(0), "int8:group32");
}

TEST_F(Adapting, AFormatWhoseScalesCannotHoldTheWeightIsNeverTaken) {
  options_.formats = {"gguf:q4_0", "gguf:q8_0"};
  options_.budget_bytes = 64 * 64 / 32 * (18 + 34);
  flat_->master_of(0)[3][5] = 1e6;  // of 8 steps a side: a scale beyond f16; of 127: within
  for (const double noise : {0.0, 1.0}) {
    quantizer_.emplace("q",
                       std::vector<WeightTarget>{{"one", make_weight_format("gguf:q8_0")},
                                                 {"two", make_weight_format("gguf:q4_0")}},
                       model_.parameters, false);
    AdaptiveWidths adaptive = widths(60);  // of the 100 joules that are needed
    steps(adaptive, noise, 3);
    EXPECT_THAT(begin(adaptive), IsEmpty()) << noise;
    EXPECT_LT(adaptive.eighths(), 8);
    EXPECT_EQ(format_of(0), "gguf:q8_0");
  }
}

TEST_F(Adapting, AScarceEnergyBudgetLowersWidthsAndMoreRaisesThem) {
  AdaptiveWidths adaptive = widths(60);  // of the 100 joules that are needed
  steps(adaptive, 1, 1);
  ASSERT_THAT(begin(adaptive), SizeIs(1));
  EXPECT_EQ(format_of(0), "int4:group32");
  EXPECT_EQ(format_of(1), "int4:group32");
  EXPECT_EQ(adaptive.eighths(), 4);
  AdaptiveWidths more = widths(1000);
  more.load_energy(adaptive.save_energy());
  EXPECT_EQ(more.eighths(), 4);
  steps(more, 1, 2);
  ASSERT_THAT(begin(more), SizeIs(1));
  EXPECT_EQ(more.eighths(), 8);
  EXPECT_EQ(format_of(1), "int8:group32");
}

/// Weights whose costs in joules add up to other last bits in another order.
class AdaptingMany : public Adapting {
 protected:
  AdaptingMany() : Adapting({32, 96, 160, 64, 224, 352}) {}
};

TEST_F(AdaptingMany, WhereJoulesAllowTheLeastAloneTheSmallestFormatsAreTaken) {
  options_.budget_bytes.reset();
  for (const double joules_per_byte : {1.3e-10, 1.4e-10, 1.6e-10, 1.7e-10, 2.1e-10, 3.9e-10}) {
    quantizer_.emplace("q", targets(), model_.parameters, false);
    options_.joules_per_byte = joules_per_byte;
    options_.budget_joules = 60000 * joules_per_byte;
    AdaptiveWidths adaptive = widths(spent_ + 5);  // an eighth, which is less than the least
    steps(adaptive, 1, 1);
    EXPECT_THAT(begin(adaptive), SizeIs(weight_count() - 1)) << joules_per_byte;
    EXPECT_EQ(adaptive.eighths(), 1);
    for (int64_t i = 0; i < weight_count(); ++i) EXPECT_EQ(format_of(i), "int4:group32");
    step_ = 0;
  }
}

TEST_F(Adapting, WithoutKnownJoulesTheBudgetStaysAsItWas) {
  AdaptiveWidths adaptive = widths(60);
  steps(adaptive, 1, 1);
  begin(adaptive);
  for (int i = 0; i < 4; ++i, ++step_) adaptive.step_ends(MetricsRecord());
  begin(adaptive);
  EXPECT_EQ(adaptive.eighths(), 4);
}

TEST_F(Adapting, ARunThatGoesOnWithinAWindowDecidesAsOneThatWasNotStopped) {
  constexpr int64_t kLeft = 96;
  AdaptiveWidths whole = widths(60);
  steps(whole, 1, 1, 2, 0.4);
  AdaptiveWidths within = resumed(whole);
  const double spent = spent_;
  steps(whole, 1, 1, 2, 1.2);
  AdaptiveWidths at_its_end = resumed(whole);
  const int64_t eighths = affordable_eighths(60, spent_, kLeft * spent_ / 4);
  EXPECT_GT(eighths, affordable_eighths(60, spent_, kLeft * 1.2)) << "of the later steps alone";
  EXPECT_LT(eighths, 8);
  const auto formats_after = [&](AdaptiveWidths& widths) {
    quantizer_.emplace("q", targets(), model_.parameters, false);
    begin(widths);
    EXPECT_EQ(widths.eighths(), eighths);
    return std::pair(format_of(0), format_of(1));
  };
  const auto formats = formats_after(whole);
  EXPECT_EQ(formats_after(at_its_end), formats);
  step_ = 2, spent_ = spent;
  steps(within, 1, 1, 2, 1.2);
  EXPECT_EQ(formats_after(within), formats);
}

TEST_F(Adapting, AfterItsLastStepNothingChanges) {
  options_.adapt->end_step = 4;
  AdaptiveWidths adaptive = widths();
  steps(adaptive, 3, 1);
  EXPECT_THAT(begin(adaptive), SizeIs(2));
  steps(adaptive, 1, 3);
  EXPECT_THAT(begin(adaptive), IsEmpty());
}

TEST_F(Adapting, ASavedStateGoesOnAsItWas) {
  AdaptiveWidths adaptive = widths();
  steps(adaptive, 3, 1);
  begin(adaptive);
  AdaptiveWidths other = widths();
  other.load(adaptive.save());
  EXPECT_EQ(other.save(), adaptive.save());
  EXPECT_THAT(other.changes(), SizeIs(2));
  EXPECT_THAT(other.save().dump(), testing::Not(HasSubstr("joules")));
}

}  // namespace
}  // namespace wattle
