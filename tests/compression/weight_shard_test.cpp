#include "compression/formats/weight_shard.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/zeros.h>
#include <gmock/gmock.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <mutex>

#include "common/error.h"
#include "compression/formats/grid_format.h"
#include "compression/formats/grid_kernels.h"
#include "compression/quantize/weight_quantizer.h"
#include "compression/ranges/weight_ranges.h"
#include "parallel/communicators/threads/thread_communicator.h"
#include "tests/compression/compression_support.h"
#include "trainer/state/flat_parameters.h"

namespace wattle {
namespace {

using support::normal;
using testing::HasSubstr;

/// A weight [rows, columns], or filters, of values over several orders of magnitude.
at::Tensor weight_of(at::IntArrayRef shape) {
  const at::Tensor values = normal(shape, 1);
  return values * normal(shape, 2).exp();
}

struct Split {
  int64_t dim;
  std::vector<int64_t> sizes;  ///< of the ranks' parts
};

WeightShard shard_of(const Split& split, Communicator& ranks) {
  WeightShard shard{.dim = split.dim, .ranks = &ranks};
  for (size_t i = 0; i < split.sizes.size(); ++i) {
    if (static_cast<int>(i) < ranks.rank()) shard.offset += split.sizes[i];
    shard.full_size += split.sizes[i];
  }
  return shard;
}

at::Tensor part_of(const at::Tensor& whole, const Split& split, const WeightShard& shard) {
  return whole.narrow(split.dim, shard.offset, split.sizes[shard.ranks->rank()])
      .clone(at::MemoryFormat::Contiguous);
}

/// What each rank makes of its part, put together.
at::Tensor put_together(const Split& split, const at::Tensor& whole,
                        const std::function<at::Tensor(const at::Tensor&, const WeightShard&)>& f) {
  std::vector<at::Tensor> parts(split.sizes.size());
  run_as_threads(static_cast<int>(split.sizes.size()), [&](Communicator& ranks) {
    const WeightShard shard = shard_of(split, ranks);
    parts[ranks.rank()] = f(part_of(whole, split, shard), shard);
  });
  return at::cat(parts, split.dim);
}

/// A model's only parameter, this rank's part of a weight, under a quantiser.
struct Quantised {
  Quantised(const at::Tensor& part, const std::string& format, const WeightShard& shard)
      : weight("w.weight", part, LayerKind::kDense, true),
        parameters({&weight}),
        flat(parameters, layout_of(parameters), at::zeros({layout_of(parameters).numel}),
             Precision::kFp32),
        quantizer("q",
                  {{.parameter = "w.weight", .format = make_weight_format(format), .shard = shard}},
                  parameters, true) {
    flat.add_transform(quantizer);
  }
  ~Quantised() { flat.remove_transform(quantizer); }

  Parameter weight;
  std::vector<Parameter*> parameters;
  FlatParameters flat;
  WeightQuantizer quantizer;
};

const std::vector<Split> kSplits = {
    {0, {24, 24}},   {0, {7, 40, 1}},     {0, {12, 12, 12, 12}},
    {1, {256, 256}}, {1, {32, 160, 320}}, {1, {128, 32, 96, 256}},
};

class Shards : public testing::TestWithParam<std::string> {
 protected:
  std::shared_ptr<const WeightFormat> format_ = make_weight_format(GetParam());
  at::Tensor whole_ = weight_of({48, 512});

  bool can_be_cut(const Split& split) const {
    const int64_t step = cut_step(*format_, whole_.sizes(), split.dim);
    return std::ranges::all_of(split.sizes, [&](int64_t size) { return size % step == 0; });
  }
  at::Tensor rounded() const {
    at::Tensor rounded = whole_.clone();
    format_->fake_quantise(rounded);
    return rounded;
  }
};

TEST_P(Shards, ForwardReadsTheBitsOfTheWholeWeight) {
  int cut = 0;
  for (const Split& split : kSplits) {
    if (!can_be_cut(split)) continue;
    ++cut;
    const at::Tensor read = put_together(split, whole_, [&](const auto& part, const auto& shard) {
      return Quantised(part, GetParam(), shard).weight.value().detach().clone();
    });
    EXPECT_TRUE(at::equal(read, rounded())) << split.dim << " " << split.sizes.size();
  }
  EXPECT_GE(cut, 4);
}

TEST_P(Shards, GradientsAreClippedAsTheWholeWeightsAre) {
  at::Tensor expected = at::zeros(whole_.sizes()).fill_(1);
  format_->clip_gradient(whole_, nullptr, expected);
  for (const Split& split : kSplits) {
    if (!can_be_cut(split)) continue;
    const at::Tensor passed = put_together(split, whole_, [&](const auto& part, const auto& shard) {
      Quantised quantised(part, GetParam(), shard);
      at::Tensor gradient = at::zeros(part.sizes()).fill_(1);
      quantised.quantizer.transform_gradient(0, part, gradient);
      return gradient;
    });
    EXPECT_TRUE(at::equal(passed, expected)) << split.dim << " " << split.sizes.size();
  }
}

/// A checkpoint holds masters and fixed scales: the file's bytes follow from them alone.
TEST_P(Shards, FrozenScalesAndMastersGiveTheSameFile) {
  const EncodedWeight expected = format_->encode(whole_);
  for (const Split& split : kSplits) {
    if (!can_be_cut(split)) continue;
    const at::Tensor masters =
        put_together(split, whole_, [&](const auto& part, const auto& shard) {
          Quantised quantised(part, GetParam(), shard);
          const WeightScales scales = format_->scales_of(part, &shard);
          const WeightScales cut =
              cut_scales(*format_, format_->scales_of(whole_), part.sizes(), shard);
          EXPECT_TRUE(at::equal(scales.scale, cut.scale));
          EXPECT_EQ(scales.zero_point.defined(), cut.zero_point.defined());
          if (cut.zero_point.defined()) {
            EXPECT_TRUE(at::equal(scales.zero_point, cut.zero_point));
          }
          if (format_->takes_scales()) quantised.quantizer.set_scales(0, scales);
          quantised.flat.publish();
          return quantised.flat.master_of(0).clone();
        });
    const EncodedWeight encoded = format_->encode(masters);
    EXPECT_EQ(encoded.blocks, expected.blocks);
    if (expected.codes.defined()) {
      EXPECT_TRUE(at::equal(encoded.codes, expected.codes));
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Names, Shards,
                         testing::Values("gguf:q4_0", "gguf:q4_1", "gguf:q8_0", "gguf:q6_k",
                                         "int8:tensor", "int8:channel", "int8:channel:asymmetric",
                                         "int16:tensor:asymmetric", "int4:group32",
                                         "int4:group128:asymmetric", "int2:group32",
                                         "ternary:tensor", "ternary:channel", "ternary:group32",
                                         "fp8:channel", "fp8:tensor"),
                         [](const auto& info) {
                           std::string name = info.param;
                           std::ranges::replace(name, ':', '_');
                           return name;
                         });

TEST(WeightShard, RowsMayBeCutAnywhereAndBlocksNowhere) {
  const auto step = [](const char* format, at::IntArrayRef shape, int64_t dim) {
    return cut_step(*make_weight_format(format), shape, dim);
  };
  EXPECT_EQ(step("gguf:q4_0", {48, 512}, 0), 1);
  EXPECT_EQ(step("gguf:q4_0", {48, 512}, 1), 32);
  EXPECT_EQ(step("gguf:q6_k", {48, 512}, 1), 256);
  EXPECT_EQ(step("int4:group64", {48, 512}, 1), 64);
  EXPECT_EQ(step("int8:channel", {48, 512}, 1), 1);
  EXPECT_EQ(step("int8:tensor", {48, 512}, 1), 1);
  // Filters [out, in, height, width]: a row is in * height * width values.
  EXPECT_EQ(step("int4:group36", {8, 16, 3, 3}, 1), 4);
  EXPECT_EQ(step("int4:group32", {8, 32, 3, 3}, 1), 32);
  EXPECT_EQ(step("int4:group36", {8, 16, 3, 3}, 2), 3) << "nowhere";
  EXPECT_EQ(step("int8:channel", {8, 16, 3, 3}, 3), 1);
}

TEST(WeightShard, FiltersAreRoundedAsTheWholeOnes) {
  const at::Tensor whole = weight_of({8, 16, 3, 3});
  for (const char* name : {"int4:group36", "int8:channel", "ternary:tensor", "ternary:channel"}) {
    at::Tensor expected = whole.clone();
    make_weight_format(name)->fake_quantise(expected);
    for (const Split& split : {Split{0, {3, 5}}, Split{1, {4, 8, 4}}}) {
      const at::Tensor read = put_together(split, whole, [&](const auto& part, const auto& shard) {
        return Quantised(part, name, shard).weight.value().detach().clone();
      });
      EXPECT_TRUE(at::equal(read, expected)) << name << " " << split.dim;
    }
  }
}

TEST(WeightShard, ASplitThatCutsABlockIsRefusedByName) {
  for (const auto& [name, size] :
       {std::pair("gguf:q4_0", 144), std::pair("gguf:q6_k", 128), std::pair("int4:group64", 96)}) {
    run_as_threads(2, [&, name = name, size = size](Communicator& ranks) {
      const Split split{1, {size, 512 - size}};
      const WeightShard shard = shard_of(split, ranks);
      try {
        Quantised(part_of(weight_of({4, 512}), split, shard), name, shard);
        ADD_FAILURE() << name;
      } catch (const Error& error) {
        EXPECT_EQ(error.code(), ErrorCode::kConfig);
        EXPECT_THAT(error.what(), HasSubstr("w.weight: dimension 1 of 512 values"));
        EXPECT_THAT(error.what(), HasSubstr("multiples of"));
        EXPECT_THAT(error.what(), HasSubstr(ranks.rank() == 0 ? "from 0 to" : "to 512"));
      }
    });
  }
}

TEST(WeightShard, APartOutsideOfTheWeightIsRefused) {
  run_as_threads(2, [](Communicator& ranks) {
    const WeightShard shard{.dim = 1, .offset = 300, .full_size = 512, .ranks = &ranks};
    EXPECT_THROW(check_cut(*make_weight_format("int8:tensor"), "w", {4, 256}, shard), Error);
    EXPECT_THROW(check_cut(*make_weight_format("int8:tensor"), "w", {4, 0}, shard), Error);
  });
}

TEST(WeightShard, EveryRankHearsOfAnInfinityOnOne) {
  for (const char* name : {"int8:channel", "ternary:tensor", "fp8:tensor"}) {
    std::mutex mutex;
    std::vector<std::string> errors;
    run_as_threads(3, [&](Communicator& ranks) {
      const WeightShard shard = shard_of({1, {32, 32, 32}}, ranks);
      at::Tensor part = weight_of({4, 32});
      if (ranks.rank() == 1) part[2][5] = INFINITY;
      try {
        make_weight_format(name)->scales_of(part, &shard);
      } catch (const Error& error) {
        const std::lock_guard lock(mutex);
        EXPECT_EQ(error.code(), ErrorCode::kNonFinite);
        errors.emplace_back(error.what());
      }
    });
    EXPECT_THAT(errors, testing::SizeIs(3)) << name;
  }
}

TEST(WeightShard, SumsOfMagnitudesAddUpWhereverTheyAreCut) {
  const at::Tensor values = weight_of({1, 5000}) * 1e-3;
  const float* x = values.const_data_ptr<float>();
  for (const float largest : {1.0F, 0.75F, 1e-38F, 1e-42F, 3e38F}) {
    const double step = magnitude_step({-largest, 0});
    EXPECT_GE(step, largest * 0x1p-30);
    EXPECT_LE(step, std::max(largest, 0x1p-126F) * 0x1p-29);
  }
  const double step = magnitude_step(range_of_values(x, 5000));
  const int64_t whole = magnitudes_in_steps(x, 5000, step);
  EXPECT_NEAR(static_cast<double>(whole) * step, values.abs().sum(at::kDouble).item<double>(),
              1e-6);
  for (const int64_t cut : {1, 17, 2500, 4999}) {
    EXPECT_EQ(magnitudes_in_steps(x, cut, step) + magnitudes_in_steps(x + cut, 5000 - cut, step),
              whole);
  }
}

class SharedObservers : public testing::TestWithParam<ObserverKind> {};

TEST_P(SharedObservers, FindTheScalesOfTheWholeWeight) {
  const at::Tensor whole = weight_of({12, 512});
  ObserverOptions observer{.kind = GetParam()};
  observer.percentile = 99;
  for (const std::string name : {"int8:tensor", "int8:channel", "int4:channel:asymmetric",
                                 "int8:tensor:asymmetric", "int4:group32"}) {
    const GridFormatOptions options = *parse_grid_format(name);
    const auto format = make_weight_format(name);
    // The second look moves what the first one found.
    const WeightScales first = observed_scales(options, observer, whole * 2, nullptr);
    const WeightScales expected = observed_scales(options, observer, whole, &first);
    for (const Split& split : {Split{0, {5, 7}}, Split{1, {64, 128, 320}}}) {
      run_as_threads(static_cast<int>(split.sizes.size()), [&](Communicator& ranks) {
        const WeightShard shard = shard_of(split, ranks);
        const at::Tensor part = part_of(whole, split, shard);
        const WeightScales before = observed_scales(options, observer, part * 2, nullptr, &shard);
        const WeightScales found = observed_scales(options, observer, part, &before, &shard);
        const WeightScales wanted = cut_scales(*format, expected, part.sizes(), shard);
        EXPECT_TRUE(at::equal(found.scale, wanted.scale)) << name << " " << split.dim;
        if (options.symmetric) return;
        EXPECT_TRUE(at::equal(found.zero_point, wanted.zero_point)) << name << " " << split.dim;
      });
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Kinds, SharedObservers,
                         testing::Values(ObserverKind::kMinMax, ObserverKind::kMovingAverage,
                                         ObserverKind::kPercentile, ObserverKind::kHistogram,
                                         ObserverKind::kLeastSquares),
                         [](const auto& info) { return std::string(name_of(info.param)); });

TEST(WeightShard, LearnedScalesHaveTheGradientOfTheWholeSegment) {
  const at::Tensor whole = weight_of({12, 512}), upstream = normal({12, 512}, 7);
  for (const std::string name : {"int8:tensor", "int4:channel", "int4:group32"}) {
    const GridFormatOptions options = *parse_grid_format(name);
    const auto format = make_weight_format(name);
    const at::Tensor start = initial_step_size(options, whole);
    at::Tensor clipped = upstream.clone();
    const at::Tensor expected =
        learn_scales_gradient(options, ScaleLearning::kStep, whole, start, clipped);
    for (const Split& split : {Split{0, {5, 7}}, Split{1, {64, 128, 320}}}) {
      const at::Tensor passed =
          put_together(split, whole, [&](const at::Tensor& part, const WeightShard& shard) {
            const at::Tensor step = initial_step_size(options, part, &shard);
            EXPECT_TRUE(
                at::equal(step, cut_scales(*format, {start, {}}, part.sizes(), shard).scale));
            at::Tensor gradient = part_of(upstream, split, shard);
            const at::Tensor found =
                learn_scales_gradient(options, ScaleLearning::kStep, part, step, gradient, &shard);
            const at::Tensor wanted =
                cut_scales(*format, {expected, {}}, part.sizes(), shard).scale;
            EXPECT_LT((found - wanted).abs().max().item<float>(),
                      1e-6 * wanted.abs().max().item<float>())
                << name << " " << split.dim;
            return gradient;
          });
      EXPECT_TRUE(at::equal(passed, clipped)) << name << " " << split.dim;
    }
  }
}

}  // namespace
}  // namespace wattle
