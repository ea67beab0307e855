#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/conv2d.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/relu.h>
#include <ATen/ops/zeros.h>
#include <gmock/gmock.h>

#include <algorithm>
#include <functional>
#include <limits>

#include "common/error.h"
#include "compression/export/deployed_graph.h"
#include "compression/integer/integer_model.h"
#include "compression/make_callbacks.h"
#include "parallel/communicators/threads/thread_communicator.h"
#include "tests/compression/compression_support.h"

namespace wattle {
namespace {

using support::normal;

using testing::HasSubstr;

at::Tensor wide(const at::Tensor& t) { return t.view({1, -1, 1, 1}); }

/// Looks at what a point gets and what it hands on.
struct Watch : ActivationHook {
  explicit Watch(Model& model, const std::string& name)
      : point(**std::ranges::find(model.activations, name, &ActivationPoint::name)),
        inner(point.hook()) {
    point.set_hook(this);
  }
  ~Watch() override { point.set_hook(inner); }
  at::Tensor apply(const at::Tensor& x) override {
    got = x.detach();
    const at::Tensor y = inner ? inner->apply(x) : x;
    given = y.detach();
    return y;
  }
  ActivationPoint& point;
  ActivationHook* inner;
  at::Tensor got, given;
};

/// A small network in int8 whose batch norms have statistics of their own.
class Folding : public testing::Test {
 protected:
  void build(const std::function<void(QuantizeOptions&)>& set, Communicator& ranks) {
    ModelOptions options;
    options.family = ModelFamily::kResnet;
    options.channels = {4, 6};
    model_ = build_model(options, 1);
    const FlatLayout layout = layout_of(model_.parameters);
    flat_ = std::make_unique<FlatParameters>(model_.parameters, layout, at::zeros({layout.numel}),
                                             Precision::kFp32);
    {
      const at::NoGradGuard no_grad;
      for (size_t i = 0; i < model_.buffers.size(); ++i) {
        const at::Tensor noise = normal(model_.buffers[i].value.sizes(), i);
        model_.buffers[i].value.copy_(i % 2 == 0 ? noise : noise.abs() + 0.5);
      }
      for (const Weight& weight : model_.weights) {
        if (!weight.norm) continue;
        weight.norm->weight->value().add_(normal(weight.norm->weight->value().sizes(), 7) * 0.3);
        weight.norm->bias->value().add_(normal(weight.norm->bias->value().sizes(), 8) * 0.3);
      }
    }
    CompressionEntry entry;
    entry.quantize.emplace();
    entry.quantize->target = WeightTargetType::kInt8;
    set(*entry.quantize);
    CompressionTools tools;
    tools.ranks = &ranks;
    callbacks_ = make_compression_callbacks({entry}, model_, *flat_, tools);
  }

  /// Forward and backward of a micro-batch, without an update.
  void step(int64_t step, const at::Tensor& x) {
    const TrainingView view{model_, *flat_, step, 9, 0, 1};
    for (const auto& callback : callbacks_) callback->step_begins(view);
    for (Parameter* parameter : model_.parameters) parameter->begin_step();
    Batch batch{x, at::zeros({x.size(0)}, at::kLong), {}};
    ForwardContext context;
    context.training = true;
    context.frozen_norms = model_.frozen_norms;
    context.sample_indices = &batch.sample_indices;
    model_.loss(batch, context).loss.backward();
    for (Parameter* parameter : model_.parameters) parameter->end_step();
    flat_->finish_gradients();
    for (const auto& callback : callbacks_) callback->step_ends(view, MetricsRecord{});
  }

  DeployedGraph deployed() {
    const at::NoGradGuard no_grad;
    std::vector<NamedTensor> parameters;
    for (size_t i = 0; i < model_.parameters.size(); ++i) {
      parameters.push_back({model_.parameters[i]->name(), flat_->master_of(i).clone()});
    }
    return deployed_graph(model_, parameters, deployment_of(*flat_), "a test");
  }

  Model model_;
  std::unique_ptr<FlatParameters> flat_;
  std::vector<std::unique_ptr<Callback>> callbacks_;
};

at::Tensor decoded(const EncodedWeight& codes) {
  const at::Tensor& scale = codes.scales.scale;
  return codes.codes.to(at::kFloat) * (scale.numel() == 1 ? scale : scale.view({-1, 1, 1, 1}));
}

TEST_F(Folding, TheLastForwardPassMultipliesByTheNumbersOfTheFile) {
  run_as_threads(1, [&](Communicator& ranks) {
    for (const bool rounds_activations : {false, true}) {
      build(
          [&](QuantizeOptions& o) {
            o.freeze_batch_norm_step = 2;
            if (rounds_activations) o.activations.emplace();
          },
          ranks);
      const at::Tensor x = normal({3, 1, 8, 8}, 5);
      for (int64_t i = 0; i < 3; ++i) step(i, x);
      const DeployedGraph graph = deployed();
      const DeployedOperation& stem = graph.operations.front();
      EXPECT_TRUE(at::equal(decoded(*stem.codes), model_.weights.front().weight->value()))
          << "the weight of the last forward pass";
      ASSERT_EQ(stem.bias_codes.defined(), rounds_activations);
      const at::Tensor bias =
          rounds_activations ? stem.bias_codes.to(at::kFloat) * stem.bias_scales : stem.bias;
      for (const bool training : {true, false}) {
        const at::NoGradGuard no_grad;
        Watch input(model_, "input"), relu(model_, "stem.relu");
        ForwardContext context;
        context.training = training;
        context.frozen_norms = true;
        model_.forward(x, context);
        const at::Tensor product = at::conv2d(input.given, decoded(*stem.codes), {}, 1, 1);
        EXPECT_TRUE(at::equal(relu.got, at::relu(product + wide(bias))))
            << "training: " << training << ", activations: " << rounds_activations;
      }
    }
  });
}

TEST_F(Folding, ABiasThatInt32CannotHoldIsDeployedAsTheFloatsOfTheLastForwardPass) {
  run_as_threads(1, [&](Communicator& ranks) {
    build(
        [&](QuantizeOptions& o) {
          o.freeze_batch_norm_step = 2;
          o.activations.emplace();
        },
        ranks);
    {
      const at::NoGradGuard no_grad;
      flat_->master_of(2)[1] = 1e9;
    }
    for (int64_t i = 0; i < 3; ++i) step(i, normal({3, 1, 8, 8}, 5));
    ASSERT_EQ(model_.parameters[2], model_.weights.front().norm->bias);
    const DeployedGraph graph = deployed();
    const DeployedOperation& stem = graph.operations.front();
    EXPECT_FALSE(stem.bias_codes.defined());
    EXPECT_TRUE(at::equal(stem.bias, model_.parameters[2]->value()));
    try {
      IntegerModel integers(deployed());
      FAIL() << "integers alone took it";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kUnsupported);
      EXPECT_THAT(error.what(), HasSubstr("stem.conv: its bias"));
    }
  });
}

/// What the stem's norm makes of a product, in float64, by autograd alone.
at::Tensor reference_output(const at::Tensor& x, const at::Tensor& v, const FollowingNorm& norm,
                            const at::Tensor& gamma, const at::Tensor& beta, bool frozen) {
  const at::Tensor z = at::conv2d(x.to(at::kDouble), v, {}, 1, 1);
  at::Tensor mean = norm.running_mean.to(at::kDouble);
  at::Tensor variance = norm.running_variance.to(at::kDouble);
  if (!frozen) {
    mean = z.mean({0, 2, 3});
    variance = (z - wide(mean)).square().mean({0, 2, 3});
  }
  return (z - wide(mean)) / (wide(variance) + norm.eps).sqrt() * wide(gamma) + wide(beta);
}

TEST_F(Folding, GradientsAreThoseOfTheRoundedWeightUnderItsNorm) {
  for (const bool frozen : {false, true}) {
    run_as_threads(1, [&](Communicator& ranks) {
      build([](QuantizeOptions& o) { o.clip_gradients = false; }, ranks);
      model_.frozen_norms = frozen;
      const FollowingNorm& norm = *model_.weights.front().norm;
      const at::Tensor x = normal({3, 1, 8, 8}, 5);
      struct Catch : ActivationHook {
        at::Tensor apply(const at::Tensor& y) override {
          if (!y.requires_grad()) return y;
          y.register_hook([this](const at::Tensor& gradient) { seen = gradient.detach(); });
          return y;
        }
        at::Tensor seen;
      } after;
      (*std::ranges::find(model_.activations, "stem.relu", &ActivationPoint::name))
          ->set_hook(&after);
      step(0, x);
      ASSERT_TRUE(after.seen.defined());

      const auto leaf = [](const at::Tensor& t) {
        return t.detach().to(at::kDouble).clone().requires_grad_(true);
      };
      const at::Tensor w = leaf(flat_->master_of(0)), gamma = leaf(norm.weight->value()),
                       beta = leaf(norm.bias->value());
      const at::Tensor factor = norm.weight->value().detach().to(at::kDouble) /
                                (norm.running_variance.to(at::kDouble) + norm.eps).sqrt();
      const at::Tensor folded = decoded(*deployed().operations.front().codes);
      const at::Tensor v = folded.to(at::kDouble) / factor.view({-1, 1, 1, 1});
      const at::Tensor y =
          reference_output(x, w + (v - w).detach(), norm, gamma, beta, frozen).relu();
      (y * after.seen.to(at::kDouble)).sum().backward();
      const auto expect_close = [&](const at::Tensor& got, const at::Tensor& expected) {
        const double error = (got - expected).norm().item<double>();
        EXPECT_LT(error, 1e-5 * expected.norm().item<double>()) << "frozen: " << frozen;
      };
      expect_close(model_.parameters[0]->grad(), w.grad());
      expect_close(norm.weight->grad(), gamma.grad());
      expect_close(norm.bias->grad(), beta.grad());
    });
  }
}

TEST_F(Folding, AWeightThatCannotBeRoundedIsLeftToTheLoopAndNamedInAFile) {
  run_as_threads(1, [&](Communicator& ranks) {
    build([](QuantizeOptions& o) { o.activations.emplace(); }, ranks);
    const at::Tensor x = normal({3, 1, 8, 8}, 5);
    for (int64_t i = 0; i < 2; ++i) step(i, x);
    {
      const at::NoGradGuard no_grad;
      flat_->master_of(0).mul_(1e30);
      model_.buffers[1].value.fill_(1e-30);
      model_.weights.front().norm->weight->value().fill_(1e12);
    }
    EXPECT_NO_THROW(flat_->publish());
    EXPECT_TRUE(model_.parameters[0]->value().isnan().all().item<bool>());
    EXPECT_THAT(flat_->complaint(), HasSubstr("stem.conv.weight can't be rounded to int8"));
    EXPECT_NO_THROW(flat_->finish_gradients());
    EXPECT_THROW(deployed(), Error);
    const at::NoGradGuard no_grad;
    flat_->master_of(0).mul_(1e-40);
    flat_->publish();
    EXPECT_EQ(flat_->complaint(), "");
  });
}

}  // namespace
}  // namespace wattle
