#include "trainer/state/optimizer/optimizer.h"

#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/_fused_adam.h>
#include <ATen/ops/_fused_adamw.h>
#include <ATen/ops/_fused_sgd.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/full.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/zeros.h>
#include <gmock/gmock.h>

#include "common/error.h"
#include "trainer/state/optimizer/device_optimizer.h"

namespace wattle {
namespace {

constexpr int64_t kNumel = 100'003;

/// Runs steps of an optimizer over one flat buffer, and the same steps of PyTorch's fused operator.
class Optimizers : public testing::Test {
 protected:
  at::NoGradGuard no_grad_;
  OptimizerOptions options_;
  at::ScalarType type_ = at::kFloat;
  at::Tensor start_ = at::randn({kNumel}, at::kDouble);

  std::vector<at::Tensor> gradients(int steps) const {
    std::vector<at::Tensor> made;
    for (int i = 0; i < steps; ++i) made.push_back(at::randn({kNumel}, at::kDouble).to(type_));
    return made;
  }
  static UpdateStep step(int i) { return {i + 1, 0.01 / (i + 1), 1.0}; }

  at::Tensor ours(const std::vector<at::Tensor>& gradients,
                  const std::vector<FlatRange>& decaying = {{0, kNumel}}) const {
    at::Tensor master = start_.to(type_, false, true);
    auto optimizer = make_optimizer(options_, decaying, {0, kNumel}, master);
    for (size_t i = 0; i < gradients.size(); ++i) optimizer->update(master, gradients[i], step(i));
    return master;
  }

  at::Tensor torchs(const std::vector<at::Tensor>& gradients) const {
    at::Tensor p = start_.to(type_, false, true);
    at::Tensor m = at::zeros({kNumel}, type_), v = at::zeros({kNumel}, type_);
    const double decay = options_.resolved_weight_decay();
    for (size_t i = 0; i < gradients.size(); ++i) {
      const double lr = step(i).learning_rate;
      const at::Tensor number = at::full({}, static_cast<double>(i + 1), at::kFloat);
      if (options_.name == OptimizerName::kSgd) {
        std::vector<at::Tensor> velocity;
        if (options_.momentum > 0) velocity.push_back(m);
        at::_fused_sgd_({p}, {gradients[i]}, velocity, decay, options_.momentum, lr, 0.0,
                        options_.nesterov, false, i == 0);
      } else if (options_.name == OptimizerName::kAdam) {
        at::_fused_adam_({p}, {gradients[i]}, {m}, {v}, {}, {number}, lr, options_.betas[0],
                         options_.betas[1], decay, options_.eps, false, false);
      } else {
        at::_fused_adamw_({p}, {gradients[i]}, {m}, {v}, {}, {number}, lr, options_.betas[0],
                          options_.betas[1], decay, options_.eps, false, false);
      }
    }
    return p;
  }

  void expect_torchs_formula(double tolerance) {
    const std::vector<at::Tensor> given = gradients(5);
    const at::Tensor expected = torchs(given), got = ours(given);
    EXPECT_LE(got.sub(expected).norm().item<double>() / expected.norm().item<double>(), tolerance);
    EXPECT_GT(got.sub(start_.to(type_)).norm().item<double>(), 1.0) << "nothing moved";
  }
};

TEST_F(Optimizers, AdamWIsTorchs) {
  options_.weight_decay = 0.1;
  expect_torchs_formula(1e-6);
  type_ = at::kDouble;
  expect_torchs_formula(1e-14);
}

TEST_F(Optimizers, AdamIsTorchs) {
  options_.name = OptimizerName::kAdam;
  options_.weight_decay = 0.1;
  expect_torchs_formula(1e-6);
  type_ = at::kDouble;
  expect_torchs_formula(1e-14);
}

TEST_F(Optimizers, SgdIsTorchs) {
  options_.name = OptimizerName::kSgd;
  options_.weight_decay = 0.1;
  type_ = at::kDouble;
  for (bool nesterov : {false, true}) {
    options_.nesterov = nesterov;
    expect_torchs_formula(1e-14);
  }
  options_.nesterov = false;
  options_.momentum = 0;
  expect_torchs_formula(1e-14);
}

TEST_F(Optimizers, ThoseOfADeviceFollowTheSameFormulas) {
  options_.weight_decay = 0.1;
  type_ = at::kDouble;
  const FlatRange low{0, 500}, high{500, kNumel};
  const at::Tensor gradient = gradients(1)[0];
  for (OptimizerName name : {OptimizerName::kAdamW, OptimizerName::kAdam, OptimizerName::kSgd}) {
    options_.name = name;
    at::Tensor on_device = start_.clone(), on_cpu = start_.clone();
    auto device =
        make_device_optimizer(options_, {{low, true}, {high, false}}, {0, kNumel}, start_);
    auto cpu = make_optimizer(options_, {low}, {0, kNumel}, start_);
    for (int64_t number : {1, 2, 3}) {
      device->update(on_device, gradient.clone(), {number, 0.01, 0.5});
      cpu->update(on_cpu, gradient, {number, 0.01, 0.5});
    }
    EXPECT_LE(on_device.sub(on_cpu).norm().item<double>(), 1e-12 * on_cpu.norm().item<double>());
    for (size_t i = 0; i < cpu->state().size(); ++i) {
      EXPECT_EQ(device->state()[i].name, cpu->state()[i].name);
    }
  }
}

TEST_F(Optimizers, OnlyDecayingRangesDecay) {
  options_.weight_decay = 0.5;
  const std::vector<at::Tensor> still = {at::zeros({kNumel})};
  const at::Tensor moved = ours(still, {{5, 70'000}, {80'000, 80'001}});
  const at::Tensor start = start_.to(type_);
  EXPECT_TRUE(at::equal(moved.narrow(0, 0, 5), start.narrow(0, 0, 5)));
  EXPECT_TRUE(at::equal(moved.narrow(0, 70'000, 10'000), start.narrow(0, 70'000, 10'000)));
  EXPECT_NEAR(moved[5].item<double>(), start[5].item<double>() * 0.995, 1e-6);
  EXPECT_NEAR(moved[80'000].item<double>(), start[80'000].item<double>() * 0.995, 1e-6);
  EXPECT_EQ(moved[80'001].item<float>(), start[80'001].item<float>());
}

TEST_F(Optimizers, ShardsAndThreadsDoNotChangeABit) {
  options_.weight_decay = 0.1;
  const std::vector<FlatRange> decaying = {{17, 40'000}, {50'001, kNumel}};
  const std::vector<at::Tensor> given = gradients(3);
  for (OptimizerName name : {OptimizerName::kAdamW, OptimizerName::kAdam, OptimizerName::kSgd}) {
    options_.name = name;
    const at::Tensor whole = ours(given, decaying);

    at::Tensor sharded = start_.to(type_, false, true);
    for (FlatRange shard : {FlatRange{0, 33'335}, {33'335, 33'336}, {33'336, kNumel}}) {
      auto optimizer = make_optimizer(options_, decaying, shard, sharded);
      for (size_t i = 0; i < given.size(); ++i) {
        optimizer->update(sharded.narrow(0, shard.begin, shard.numel()),
                          given[i].narrow(0, shard.begin, shard.numel()), step(i));
      }
    }
    EXPECT_TRUE(at::equal(sharded, whole));

    const int threads = at::get_num_threads();
    at::set_num_threads(3);
    EXPECT_TRUE(at::equal(ours(given, decaying), whole));
    at::set_num_threads(threads);
  }
}

TEST_F(Optimizers, TheGradientScaleEqualsScaledGradients) {
  const std::vector<at::Tensor> given = gradients(1);
  at::Tensor scaled = start_.to(type_, false, true), by_hand = scaled.clone();
  make_optimizer(options_, {}, {0, kNumel}, scaled)->update(scaled, given[0], {1, 0.01, 0.25});
  make_optimizer(options_, {}, {0, kNumel}, scaled)
      ->update(by_hand, given[0].mul(0.25), {1, 0.01, 1});
  EXPECT_TRUE(at::equal(scaled, by_hand));
}

TEST_F(Optimizers, Bfloat16GradientsAreWidened) {
  const at::Tensor gradient = gradients(1)[0].to(at::kBFloat16);
  for (OptimizerName name : {OptimizerName::kAdamW, OptimizerName::kSgd}) {
    options_.name = name;
    EXPECT_TRUE(at::equal(ours({gradient}), ours({gradient.to(at::kFloat)})));
  }
}

TEST_F(Optimizers, StateRestoresIntoAnotherOptimizer) {
  const std::vector<at::Tensor> given = gradients(4);
  const at::Tensor unbroken = ours(given);
  at::Tensor master = start_.to(type_, false, true);
  auto first = make_optimizer(options_, {{0, kNumel}}, {0, kNumel}, master);
  for (int i = 0; i < 2; ++i) first->update(master, given[i], step(i));
  auto second = make_optimizer(options_, {{0, kNumel}}, {0, kNumel}, master);
  for (size_t i = 0; i < first->state().size(); ++i) {
    second->state()[i].value.copy_(first->state()[i].value);
  }
  for (int i = 2; i < 4; ++i) second->update(master, given[i], step(i));
  EXPECT_TRUE(at::equal(master, unbroken));
}

TEST_F(Optimizers, RefuseBuffersThatDoNotFit) {
  at::Tensor master = at::zeros({64});
  auto optimizer = make_optimizer(options_, {}, {0, 64}, master);
  EXPECT_THROW(optimizer->update(master, at::zeros({63}), step(0)), Error);
  EXPECT_THROW(optimizer->update(master, at::zeros({64}, at::kDouble), step(0)), Error);
  EXPECT_THROW(optimizer->update(at::zeros({64}, at::kDouble), at::zeros({64}), step(0)), Error);
}

}  // namespace
}  // namespace wattle
