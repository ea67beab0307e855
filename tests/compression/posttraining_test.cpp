#include "compression/posttraining/posttraining.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/zeros.h>
#include <gmock/gmock.h>

#include "compression/ranges/weight_ranges.h"
#include "compression/report/in_float.h"
#include "parallel/communicators/threads/thread_communicator.h"
#include "tests/compression/compression_support.h"

namespace wattle {
namespace {

using support::normal;

/// Rows of 6 numbers; those of sample 3 are ten times as large.
class Rows : public Dataset {
 public:
  int64_t size() const override { return 12; }
  const SampleShape& shape() const override { return shape_; }
  Batch fetch(std::span<const int64_t> indices) const override {
    Batch batch;
    batch.inputs = at::zeros({static_cast<int64_t>(indices.size()), 6});
    batch.targets = at::zeros({static_cast<int64_t>(indices.size())});
    for (size_t i = 0; i < indices.size(); ++i) {
      batch.inputs[static_cast<int64_t>(i)].copy_(normal({6}, 100 + indices[i]) *
                                                  (indices[i] == 3 ? 10 : 1));
    }
    batch.sample_indices.assign(indices.begin(), indices.end());
    return batch;
  }

 private:
  SampleShape shape_{SampleShape::Kind::kRow, {6}, 0};
};

ModelOptions tiny_mlp() {
  ModelOptions options;
  options.family = ModelFamily::kMlp;
  options.inputs = 6;
  options.hidden = {8};
  options.outputs = 1;
  return options;
}

/// The outputs of a model for all samples.
at::Tensor outputs_of(Model& model) {
  std::vector<int64_t> all;
  for (int64_t i = 0; i < Rows().size(); ++i) all.push_back(i);
  return model.forward(Rows().fetch(all).inputs, ForwardContext{}).clone();
}

/// All weights in int8, all activations in 8 bits.
QuantisedParts all_parts(const Model& model, ObserverKind observer) {
  QuantisedParts parts;
  for (const ActivationPoint* point : model.activations) {
    parts.activations.push_back({point->name(), {{8, false}, {.kind = observer}}});
  }
  for (const Weight& weight : model.weights) {
    parts.weights.push_back({weight.weight->name(), make_weight_format("int8:channel")});
  }
  return parts;
}

struct Found {
  PostTrainingLosses losses;
  std::vector<at::Tensor> outputs;  ///< at each evaluation
  std::vector<at::Tensor> weights;  ///< the first of them, then
  at::Tensor after;
  int64_t hooks_after = 0;
};

/// What the last of so many ranks finds.
Found found_by(int ranks, const std::function<void(QuantisedParts&)>& change = {},
               ObserverKind observer = ObserverKind::kMovingAverage) {
  Found found;
  run_as_threads(ranks, [&](Communicator& world) {
    Model model = build_model(tiny_mlp(), 1);
    QuantisedParts parts = all_parts(model, observer);
    if (change) change(parts);
    const Rows rows;
    const CalibrationSet calibration(rows, 2, world);
    Found mine;
    mine.losses = evaluate_after_rounding(model, parts, {calibration, 12, GptqSection()}, [&] {
      mine.outputs.push_back(outputs_of(model));
      mine.weights.push_back(model.weights.front().weight->value().detach().clone());
      return static_cast<double>(mine.outputs.size());
    });
    mine.after = outputs_of(model);
    for (const ActivationPoint* point : model.activations)
      mine.hooks_after += point->hook() != nullptr;
    if (world.rank() == world.size() - 1) found = mine;
  });
  return found;
}

double largest_change(const at::Tensor& one, const at::Tensor& other) {
  return (one - other).abs().max().item<double>();
}

TEST(PostTraining, RoundsWeightsAndActivationsAndPutsAllBack) {
  const Found found = found_by(1);
  ASSERT_EQ(found.outputs.size(), 3);
  EXPECT_EQ(found.losses.in_float, 1);
  EXPECT_EQ(found.losses.nearest, 2);
  EXPECT_EQ(found.losses.gptq, 3);
  EXPECT_GT(largest_change(found.outputs[1], found.outputs[0]), 0);
  EXPECT_GT(largest_change(found.outputs[2], found.outputs[1]), 0) << "GPTQ rounds otherwise";
  EXPECT_TRUE(at::equal(found.after, found.outputs[0]));
  EXPECT_EQ(found.hooks_after, 0);
}

TEST(PostTraining, ActivationsAloneAreRoundedByTheRangesOfTheSamples) {
  const auto without_weights = [](QuantisedParts& parts) { parts.weights.clear(); };
  const Found found = found_by(1, without_weights, ObserverKind::kMinMax);
  const double change = largest_change(found.outputs[1], found.outputs[0]);
  EXPECT_GT(change, 0);
  // A range without the large sample would cut it off.
  EXPECT_LT(change, 0.05 * found.outputs[0].abs().max().item<double>());
}

TEST(PostTraining, RoundsWeightsByTheirObserver) {
  const ObserverOptions least{.kind = ObserverKind::kLeastSquares};
  const auto in_four_bits = [&](bool observed) {
    return found_by(1, [&, observed](QuantisedParts& parts) {
      for (WeightTarget& weight : parts.weights) {
        weight.format = make_weight_format("int4:channel");
        if (observed) weight.observer = least;
      }
    });
  };
  const Found by_rule = in_four_bits(false), by_observer = in_four_bits(true);
  const at::Tensor& values = by_observer.weights[0];
  const WeightScales scales =
      observed_scales(*parse_grid_format("int4:channel"), least, values, nullptr);
  at::Tensor rounded = values.clone();
  make_weight_format("int4:channel")->fake_quantise(rounded, &scales);
  EXPECT_TRUE(at::equal(by_observer.weights[1], rounded));
  EXPECT_FALSE(at::equal(by_observer.weights[1], by_rule.weights[1]));
  EXPECT_FALSE(at::equal(by_observer.weights[2], by_observer.weights[1])) << "GPTQ, with";
  at::Tensor again = by_observer.weights[2].clone();
  make_weight_format("int4:channel")->fake_quantise(again, &scales);
  EXPECT_TRUE(at::equal(again, by_observer.weights[2])) << "the same scales";
}

TEST(PostTraining, IsTheSameOnAnyNumberOfRanks) {
  for (const ObserverKind observer : {ObserverKind::kMovingAverage, ObserverKind::kHistogram}) {
    const Found one = found_by(1, {}, observer);
    for (const int ranks : {2, 3, 4}) {
      const Found more = found_by(ranks, {}, observer);
      for (size_t i = 0; i < 3; ++i) {
        EXPECT_TRUE(at::equal(one.outputs[i], more.outputs[i])) << ranks << " ranks, " << i;
      }
    }
  }
}

TEST(PostTraining, SaysWhatAnotherModelLacks) {
  const Model model = build_model(tiny_mlp(), 1);
  const QuantisedParts parts = all_parts(model, ObserverKind::kMinMax);
  EXPECT_EQ(lacks(build_model(tiny_mlp(), 2), parts, model), "");
  ModelOptions wider = tiny_mlp();
  wider.hidden = {9};
  EXPECT_THAT(lacks(build_model(wider, 1), parts, model),
              testing::HasSubstr(model.weights.front().weight->name()));
}

/// A transform that adds 1, and a hook that doubles.
class PlusOne : public WorkingTransform {
 public:
  std::string name() const override { return "plus"; }
  bool applies_to(int64_t, const Parameter&) const override { return true; }
  void transform(int64_t, at::Tensor& values) override { values.add_(1); }
};
class Twice : public ActivationHook {
 public:
  at::Tensor apply(const at::Tensor& x) override { return x * 2; }
};

TEST(InFloat, TakesTransformsAndHooksAwayAndPutsThemBack) {
  Model model = build_model(tiny_mlp(), 1);
  const FlatLayout layout = layout_of(model.parameters);
  FlatParameters flat(model.parameters, layout, at::zeros({layout.numel}), Precision::kFp32);
  const at::Tensor plain = outputs_of(model);
  PlusOne plus;
  Twice twice;
  flat.add_transform(plus);
  model.activations.front()->set_hook(&twice);
  const at::Tensor changed = outputs_of(model);
  EXPECT_FALSE(at::equal(changed, plain));
  in_float(model, flat, [&] { EXPECT_TRUE(at::equal(outputs_of(model), plain)); });
  EXPECT_TRUE(at::equal(outputs_of(model), changed));
}

}  // namespace
}  // namespace wattle
