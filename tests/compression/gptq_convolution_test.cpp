#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/eye.h>
#include <ATen/ops/linalg_inv.h>
#include <ATen/ops/outer.h>
#include <ATen/ops/round.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>
#include <gmock/gmock.h>

#include <algorithm>
#include <map>

#include "compression/activations/activation_quantizer.h"
#include "compression/posttraining/round_by_gptq.h"
#include "parallel/communicators/threads/thread_communicator.h"
#include "tests/compression/compression_support.h"
#include "tests/compression/gptq_reference.h"
#include "tests/compression/image_support.h"
#include "trainer/nn/layers/norm_fold.h"

namespace wattle {
namespace {

using support::Images;
using support::normal;
using support::product_error;
using support::tiny_resnet;

std::vector<WeightTarget> folded_weights(const Model& model, const std::string& format) {
  std::vector<WeightTarget> targets;
  for (const Weight& weight : model.weights) {
    targets.push_back({weight.weight->name(), make_weight_format(format), weight.norm});
  }
  return targets;
}

/// What is rounded of a weight, one row for each output channel.
at::Tensor folded_matrix(const Weight& weight, const at::Tensor& value) {
  at::Tensor values = value.detach().clone();
  if (weight.norm) multiply_channels(values, fold_factor(*weight.norm));
  return values.flatten(1);
}

/// The rows that each weight multiplies while the model computes these samples.
std::map<std::string, at::Tensor> rows_of(Model& model, const at::Tensor& inputs) {
  std::map<std::string, at::Tensor> rows;
  for (const Weight& weight : model.weights) {
    weight.weight->watch_inputs([&rows, name = weight.weight->name()](const at::Tensor& x) {
      rows[name] = x.reshape({-1, x.size(-1)}).to(at::kDouble);
    });
  }
  model.forward(inputs, ForwardContext{});
  for (const Weight& weight : model.weights) weight.weight->watch_inputs(nullptr);
  return rows;
}

const Weight& weight_of(const Model& model, const std::string& name) {
  return *std::ranges::find_if(model.weights,
                               [&](const Weight& w) { return w.weight->name() == name; });
}

std::map<size_t, GptqWeight> rounded(Model& model, const std::vector<WeightTarget>& targets,
                                     Communicator& world, double damping = 0.01) {
  const Images images;
  std::map<size_t, GptqWeight> found;
  round_by_gptq(model, targets, CalibrationSet(images, 4, world), {12, damping},
                [&](size_t i, const GptqWeight& weight) {
                  found[i] = {weight.values.clone(), weight.scales};
                });
  return found;
}

/// GPTQ as the paper's equations say it, in float64: after each column, what is left of the weight
/// moves along the row of the inverse Hessian, from which the column is then eliminated.
at::Tensor codes_by_the_book(const at::Tensor& weight, const at::Tensor& scale,
                             const at::Tensor& rows, double damping) {
  at::Tensor hessian = rows.t().mm(rows);
  at::Tensor diagonal = hessian.diagonal();
  diagonal.masked_fill_(diagonal.eq(0), 1.0);
  diagonal.add_(damping * diagonal.mean().item<double>());
  at::Tensor inverse = at::linalg_inv(hessian);
  at::Tensor rest = weight.to(at::kDouble).clone();
  at::Tensor codes = at::zeros_like(rest);
  const at::Tensor steps = scale.to(at::kDouble);
  for (int64_t j = 0; j < rest.size(1); ++j) {
    codes.select(1, j).copy_(at::round(rest.select(1, j) / steps).clamp(-8, 7));
    const at::Tensor error = (rest.select(1, j) - codes.select(1, j) * steps) / inverse[j][j];
    rest.sub_(at::outer(error, inverse[j]));
    inverse.sub_(at::outer(inverse.select(1, j), inverse[j]) / inverse[j][j]);
  }
  return codes;
}

/// The patches of 3x3 of one-channel images, by the definition.
at::Tensor patches_by_hand(const at::Tensor& images) {
  const int64_t count = images.size(0), side = images.size(2);
  at::Tensor rows = at::zeros({count * side * side, 9}, at::kDouble);
  for (int64_t n = 0, row = 0; n < count; ++n) {
    for (int64_t y = 0; y < side; ++y) {
      for (int64_t x = 0; x < side; ++x, ++row) {
        for (int64_t k = 0; k < 9; ++k) {
          const int64_t from_y = y + k / 3 - 1, from_x = x + k % 3 - 1;
          const bool inside = from_y >= 0 && from_y < side && from_x >= 0 && from_x < side;
          if (inside) rows[row][k] = images[n][0][from_y][from_x];
        }
      }
    }
  }
  return rows;
}

TEST(GptqConvolution, SeesThePatchesThatFiltersMultiply) {
  Model model = build_model(tiny_resnet(), 1);
  const at::Tensor inputs = Images().all();
  const auto rows = rows_of(model, inputs);
  EXPECT_TRUE(at::equal(rows.at("stem.conv.weight"), patches_by_hand(inputs)));
  // A convolution of stride 2 and the shortcut of 1x1 beside it read the same image.
  const at::Tensor strided = rows.at("stages.1.0.conv1.weight");
  const at::Tensor beside = rows.at("stages.1.0.shortcut.weight");
  EXPECT_TRUE(at::equal(strided.view({strided.size(0), -1, 9}).select(2, 4), beside));
}

TEST(GptqConvolution, IsThePapersInFloat64WithBatchNormFolded) {
  run_as_threads(1, [](Communicator& world) {
    Model model = support::resnet_with_statistics();
    const Weight& stem = weight_of(model, "stem.conv.weight");
    const at::Tensor before = folded_matrix(stem, stem.weight->value());
    const auto format = make_weight_format("int4:channel");
    const at::Tensor scale = format->scales_of(before).scale;
    const at::Tensor expected =
        codes_by_the_book(before, scale, patches_by_hand(Images().all()), 0.01);
    const auto found = rounded(model, {{"stem.conv.weight", format, stem.norm}}, world).at(0);
    ASSERT_TRUE(at::equal(found.scales->scale, scale));
    const at::Tensor folded = folded_matrix(stem, found.values).contiguous();
    EXPECT_TRUE(at::equal(format->encode(folded, &*found.scales).codes.to(at::kDouble), expected));
    EXPECT_FALSE(at::equal(format->encode(before).codes.to(at::kDouble), expected));
  });
}

TEST(GptqConvolution, NoRowOfAnyLayerIsFurtherOffThanRoundedToNearest) {
  run_as_threads(1, [](Communicator& world) {
    for (const std::string name : {"int8:channel", "int4:channel", "int2:channel", "int4:tensor",
                                   "int4:channel:asymmetric", "ternary:channel", "fp8:channel"}) {
      Model model = support::resnet_with_statistics();
      const auto targets = folded_weights(model, name);
      const auto rows = rows_of(model, Images().all());
      const auto found = rounded(model, targets, world);
      ASSERT_EQ(found.size(), model.weights.size());
      double better = 0;
      for (const auto& [i, weight] : found) {
        const Weight& known = model.weights[i];
        const at::Tensor x = rows.at(targets[i].parameter), hessian = x.t().mm(x);
        const at::Tensor before = folded_matrix(known, known.weight->value()).contiguous();
        at::Tensor nearest = before.clone(), by_gptq = folded_matrix(known, weight.values);
        targets[i].format->fake_quantise(nearest);
        at::Tensor again = by_gptq.contiguous().clone();
        targets[i].format->fake_quantise(again, &*weight.scales);
        EXPECT_LT((again - by_gptq).abs().max().item<double>(), 1e-6) << "the file holds these";
        for (int64_t r = 0; r < before.size(0); ++r) {
          const auto error = [&](const at::Tensor& values) {
            return product_error(before.narrow(0, r, 1), values.narrow(0, r, 1), hessian);
          };
          EXPECT_LE(error(again), error(nearest) * (1 + 1e-5))
              << name << " " << known.weight->name();
        }
        better += product_error(before, again, hessian) / product_error(before, nearest, hessian);
      }
      EXPECT_LT(better / static_cast<double>(found.size()), 0.9) << name;
    }
  });
}

/// Rounds to halves, as a grid of activations might.
class Halves : public ActivationHook {
 public:
  at::Tensor apply(const at::Tensor& x) override { return at::round(x * 2) / 2; }
};

TEST(GptqConvolution, WithRoundedActivationsInputsAreTheQuantisedModels) {
  run_as_threads(2, [](Communicator& world) {
    Halves halves;
    Model model = support::resnet_with_statistics(), other = support::resnet_with_statistics();
    for (Model* each : {&model, &other}) {
      for (ActivationPoint* point : each->activations) point->set_hook(&halves);
    }
    const auto targets = folded_weights(model, "int4:channel");
    const Images images;
    // Layer by layer: what comes before is rounded when a layer's inputs are seen.
    round_by_gptq(model, targets, CalibrationSet(images, 12, world), {12, 0.01},
                  [&](size_t i, const GptqWeight& weight) {
                    const Weight& known = other.weights[i];
                    const at::Tensor x = rows_of(other, images.all()).at(targets[i].parameter);
                    const at::Tensor before = folded_matrix(known, known.weight->value());
                    const GptqWeight expected = gptq_rounded(
                        *targets[i].format, before.contiguous(), x.t().mm(x), {.damping = 0.01});
                    const at::Tensor folded = folded_matrix(known, weight.values);
                    EXPECT_LT((folded - expected.values).abs().max().item<double>(), 1e-6)
                        << targets[i].parameter;
                    model.weights[i].weight->value().detach().copy_(weight.values);
                    known.weight->value().detach().copy_(weight.values);
                  });
  });
}

TEST(GptqConvolution, IsTheSameOnAnyNumberOfRanks) {
  std::vector<std::map<size_t, GptqWeight>> all;
  for (const int ranks : {1, 3}) {
    run_as_threads(ranks, [&](Communicator& world) {
      Model model = support::resnet_with_statistics();
      const auto mine = rounded(model, folded_weights(model, "int4:channel"), world);
      if (world.rank() == world.size() - 1) all.push_back(mine);
    });
  }
  for (const auto& [i, weight] : all[0]) {
    EXPECT_TRUE(at::equal(weight.values, all[1].at(i).values)) << i;
    EXPECT_TRUE(at::equal(weight.scales->scale, all[1].at(i).scales->scale)) << i;
  }
}

}  // namespace
}  // namespace wattle
