#include "compression/posttraining/round_by_gptq.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/eye.h>
#include <ATen/ops/full.h>
#include <gmock/gmock.h>

#include <limits>
#include <map>
#include <mutex>

#include "common/error.h"
#include "parallel/communicators/threads/thread_communicator.h"
#include "tests/compression/compression_support.h"
#include "tests/compression/gptq_reference.h"

namespace wattle {
namespace {

using support::CountingText;
using support::normal;
using support::product_error;
using support::round_to_nearest;
using testing::HasSubstr;

const std::vector<std::string> kFormats = {
    "gguf:q4_0",       "gguf:q4_1",    "gguf:q8_0",    "int8:channel",
    "int8:tensor",     "int4:group32", "int2:group16", "int4:group32:asymmetric",
    "ternary:group32", "fp8:channel"};

/// Inputs whose features hang together.
at::Tensor correlated(int64_t inputs) {
  InputHessian hessian(inputs);
  const at::Tensor mixing = normal({inputs / 4, inputs}, 2);
  hessian.add(normal({500, inputs / 4}, 3).matmul(mixing) + normal({500, inputs}, 4) * 0.3, "x");
  return hessian.sums();
}

TEST(FormatRounder, RoundsUndisturbedColumnsAsTheFormatDoes) {
  const at::Tensor weight = normal({24, 96}, 1);
  for (const std::string& name : kFormats) {
    const auto format = make_weight_format(name);
    at::Tensor expected = weight.clone();
    format->fake_quantise(expected);
    const auto rounder = make_format_rounder(*format, weight);
    EXPECT_TRUE(at::equal(round_to_nearest(weight, *rounder), expected)) << name;
  }
}

TEST(FormatRounder, GptqLeavesLessErrorInValuesThatTheFormatHolds) {
  const at::Tensor weight = normal({48, 192}, 1);
  const at::Tensor hessian = correlated(192);
  for (const std::string& name : kFormats) {
    const auto format = make_weight_format(name);
    at::Tensor plain = weight.clone();
    format->fake_quantise(plain);
    const GptqWeight rounded = gptq_rounded(*format, weight, hessian, {});
    EXPECT_LT(product_error(weight, rounded.values, hessian),
              0.9 * product_error(weight, plain, hessian))
        << name;
    at::Tensor again = rounded.values.clone();
    format->fake_quantise(again, rounded.scales ? &*rounded.scales : nullptr);
    EXPECT_TRUE(at::equal(again, rounded.values)) << name;
    EXPECT_EQ(rounded.scales.has_value(), format->takes_scales()) << name;
  }
}

TEST(FormatRounder, GptqLeavesLessErrorInTernaryBlocks) {
  const at::Tensor weight = normal({12, 512}, 1);
  const at::Tensor hessian = correlated(512);
  const auto format = make_weight_format("gguf:tq2_0");
  at::Tensor plain = weight.clone();
  format->fake_quantise(plain);
  const GptqWeight rounded = gptq_rounded(*format, weight, hessian, {});
  EXPECT_LT(product_error(weight, rounded.values, hessian),
            0.9 * product_error(weight, plain, hessian));
}

TEST(FormatRounder, ABlockOfZerosStaysOne) {
  at::Tensor weight = normal({4, 64}, 1);
  weight.narrow(1, 32, 32).zero_();
  for (const std::string name : {"gguf:q4_0", "gguf:q4_1", "gguf:q8_0"}) {
    const auto format = make_weight_format(name);
    const GptqWeight rounded = gptq_rounded(*format, weight, at::eye(64, at::kDouble), {});
    EXPECT_EQ(rounded.values.narrow(1, 32, 32).abs().max().item<float>(), 0) << name;
  }
}

std::vector<WeightTarget> all_weights(const Model& model, const std::string& format) {
  std::vector<WeightTarget> targets;
  for (const Weight& weight : model.weights) {
    targets.push_back({weight.weight->name(), make_weight_format(format)});
  }
  return targets;
}

/// What rank 0 of so many gets for each weight of a tiny model.
std::map<size_t, at::Tensor> rounded_by(int ranks, const Dataset& data, const std::string& format) {
  std::map<size_t, at::Tensor> rounded;
  run_as_threads(ranks, [&](Communicator& world) {
    Model model = build_model(support::tiny_llama(), 1);
    const CalibrationSet calibration(data, 2, world);
    std::map<size_t, at::Tensor> mine;
    round_by_gptq(model, all_weights(model, format), calibration, {.samples = 9},
                  [&](size_t i, const GptqWeight& weight) { mine[i] = weight.values.clone(); });
    if (world.rank() == world.size() - 1) rounded = mine;
  });
  return rounded;
}

TEST(RoundByGptq, IsTheSameOnAnyNumberOfRanks) {
  const CountingText text(40);
  for (const std::string format : {"gguf:q4_0", "int8:channel"}) {
    const auto one = rounded_by(1, text, format);
    ASSERT_EQ(one.size(),
              5u);  // embedding, which is the head's too, qkv, output, gate and up, down
    for (const int ranks : {2, 3}) {
      const auto more = rounded_by(ranks, text, format);
      for (const auto& [i, weight] : one) {
        EXPECT_TRUE(at::equal(weight, more.at(i))) << format << " " << ranks << " ranks, " << i;
      }
    }
  }
}

TEST(RoundByGptq, LeavesQ6KToTheFormatItself) {
  const CountingText text(40);
  for (const int ranks : {1, 2}) {
    run_as_threads(ranks, [&](Communicator& world) {
      Model model = build_model(support::tiny_llama(), 1);
      std::vector<WeightTarget> targets = all_weights(model, "gguf:q4_0");
      targets[1].format = make_weight_format("gguf:q6_k");
      std::map<size_t, at::Tensor> taken;
      round_by_gptq(model, targets, CalibrationSet(text, 2, world), {.samples = 4},
                    [&](size_t i, const GptqWeight& weight) { taken[i] = weight.values.clone(); });
      EXPECT_EQ(taken.size(), targets.size() - 1);
      EXPECT_FALSE(taken.contains(1));
      EXPECT_EQ(taken.at(2).sizes(), model.weights[2].weight->value().sizes());
    });
  }
}

TEST(RoundByGptq, LooksAtTheInputs) {
  const auto some = rounded_by(1, CountingText(40), "gguf:q4_0");
  const auto others = rounded_by(1, CountingText(40, 5), "gguf:q4_0");
  EXPECT_FALSE(at::equal(some.at(1), others.at(1)));
}

class Rows : public Dataset {
 public:
  explicit Rows(at::Tensor values) : values_(std::move(values)) {}
  int64_t size() const override { return values_.size(0); }
  const SampleShape& shape() const override { return shape_; }
  Batch fetch(std::span<const int64_t> indices) const override {
    Batch batch{at::empty({static_cast<int64_t>(indices.size()), values_.size(1)}), {}, {}};
    for (size_t i = 0; i < indices.size(); ++i) {
      batch.inputs[static_cast<int64_t>(i)] = values_[indices[i]];
    }
    return batch;
  }

 private:
  at::Tensor values_;
  SampleShape shape_{SampleShape::Kind::kRow, {3}, 0};
};

TEST(CalibrationSet, SpreadsItsSamplesAndRefusesWhatIsNotFinite) {
  at::Tensor values = normal({20, 3}, 1);
  values[10][1] = std::numeric_limits<float>::quiet_NaN();
  const Rows rows(values);
  run_as_threads(1, [&](Communicator& world) {
    const CalibrationSet calibration(rows, 4, world);
    EXPECT_EQ(calibration.batches(5), 2);
    EXPECT_EQ(calibration.batches(1000), 5);
    EXPECT_TRUE(at::equal(calibration.batch(5, 0).inputs[1], values[4]));
    calibration.check(3);
    EXPECT_THROW(calibration.check(4), Error) << "sample 10 is the third of 4";
    try {
      calibration.each_of_mine(20, [](int64_t, const Batch&) {});
      ADD_FAILURE() << "a NaN was taken in";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kNonFinite);
      EXPECT_THAT(error.what(), HasSubstr("sample 10"));
    }
  });
}

TEST(CalibrationSet, TheRanksShareTheBatches) {
  const CountingText text(23);
  std::vector<int64_t> seen(6, 0);
  std::mutex mutex;
  run_as_threads(3, [&](Communicator& world) {
    CalibrationSet(text, 4, world).each_of_mine(23, [&](int64_t index, const Batch&) {
      const std::lock_guard lock(mutex);
      ++seen[index];
    });
  });
  EXPECT_THAT(seen, testing::Each(1));
}

}  // namespace
}  // namespace wattle
