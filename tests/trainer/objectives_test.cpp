#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/cross_entropy_loss.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/outer.h>
#include <ATen/ops/pow.h>
#include <gtest/gtest.h>

#include "tests/trainer/training_support.h"
#include "trainer/nn/layers/attention.h"
#include "trainer/nn/objectives/token_objective.h"
#include "trainer/nn/objectives/value_objectives.h"

namespace wattle {
namespace {

at::Tensor wave(at::IntArrayRef shape, double frequency) {
  const int64_t count = c10::multiply_integers(shape);
  return (at::arange(count, at::kDouble) * frequency).sin().view(shape);
}

/// A head over some activations, and what plain cross-entropy of all logits at once says.
class TokenHead : public testing::Test {
 protected:
  void use(int64_t rows, int64_t vocab, int64_t width, at::ScalarType type) {
    x_ = wave({1, rows, width}, 0.7).to(type).requires_grad_(true);
    weight_ = std::make_unique<Parameter>("w", wave({vocab, width}, 1.3).to(type), LayerKind::kHead,
                                          true);
    testing_support::bind_alone(*weight_);
    targets_ = (at::arange(rows, at::kLong) * 7919 % vocab).view({1, rows});
  }

  /// Loss and gradients by the objective agree with the reference to `tolerance`.
  void expect_agreement(double tolerance) {
    const at::Tensor x = x_.detach().to(at::kDouble).requires_grad_(true);
    const at::Tensor w = weight_->value().detach().to(at::kDouble).requires_grad_(true);
    const at::Tensor expected =
        at::cross_entropy_loss(x.squeeze(0).matmul(w.t()), targets_.squeeze(0), {}, 1, -1);
    (expected * 0.5).backward();

    const LossResult got = TokenObjective(*weight_).loss(x_, targets_, {.loss_weight = 0.5});
    got.loss.backward();
    EXPECT_EQ(got.scored, targets_.ne(-1).sum().item<int64_t>());
    EXPECT_NEAR(got.loss.item<double>(), expected.item<double>(), tolerance);
    expect_near(x_.grad(), x.grad(), tolerance);
    expect_near(weight_->grad(), w.grad(), tolerance);
  }

  static void expect_near(const at::Tensor& a, const at::Tensor& b, double tolerance) {
    const double scale = b.abs().max().item<double>();
    EXPECT_LT((a.to(at::kDouble) - b).abs().max().item<double>(), tolerance * scale);
  }

  at::Tensor x_, targets_;
  std::unique_ptr<Parameter> weight_;
};

TEST_F(TokenHead, IsTheCrossEntropyOfAllLogits) {
  use(40, 301, 8, at::kDouble);
  expect_agreement(1e-12);
}

TEST_F(TokenHead, ChunksAddUp) {
  use(300, 70001, 4, at::kFloat);  // 84 MB of logits: two chunks
  expect_agreement(2e-5);
}

TEST_F(TokenHead, ScoresOnlyWhatHasATarget) {
  for (const at::ScalarType type : {at::kFloat, at::kDouble}) {
    use(12, 33, 8, type);
    targets_.narrow(1, 3, 5).fill_(-1);
    expect_agreement(type == at::kFloat ? 1e-5 : 1e-12);
    EXPECT_EQ(x_.grad().narrow(1, 3, 5).abs().max().item<double>(), 0);
  }
}

TEST_F(TokenHead, NothingScoredIsALossOfZero) {
  use(5, 33, 8, at::kFloat);
  targets_.fill_(-1);
  const LossResult result = TokenObjective(*weight_).loss(x_, targets_, {});
  result.loss.backward();
  EXPECT_EQ(result.scored, 0);
  EXPECT_EQ(result.loss.item<float>(), 0);
  EXPECT_EQ(weight_->grad().abs().max().item<float>(), 0);
}

TEST(BinaryObjective, ClassifiesWhereTargetsAreClasses) {
  const at::Tensor logits = wave({8, 1}, 0.7);
  const at::Tensor coins = logits.gt(0).to(at::kFloat).view({8});
  EXPECT_EQ(BinaryObjective().loss(logits, coins, {}).correct, 8);
  EXPECT_EQ(BinaryObjective().loss(logits, 1 - coins, {}).correct, 0);
  EXPECT_EQ(BinaryObjective().loss(logits, coins * 0.75, {}).correct, -1);
}

/// Rotary positions as Hugging Face writes them: x * cos + rotate_half(x) * sin.
at::Tensor rotated(const at::Tensor& x, double theta) {
  const int64_t width = x.size(3), half = width / 2;
  const at::Tensor frequency =
      at::pow(theta, at::arange(0, width, 2, at::kDouble) / -static_cast<double>(width));
  const at::Tensor angle = at::outer(at::arange(x.size(2), at::kDouble), frequency);
  const at::Tensor both = at::cat({angle, angle}, 1);
  const at::Tensor turned = at::cat({-x.narrow(3, half, half), x.narrow(3, 0, half)}, 3);
  return x * both.cos() + turned * both.sin();
}

TEST(CausalAttention, IsTheSoftmaxOfRotatedProductsWithSharedKeys) {
  const int64_t batch = 2, seq = 7, heads = 6, kv_heads = 2, width = 4;
  const double theta = 100;
  const at::Tensor qkv = wave({batch, seq, (heads + 2 * kv_heads) * width}, 0.9);
  const RotaryTable table = RotaryTable::of(16, width, theta, at::kDouble);
  const at::Tensor got = causal_attention(qkv.clone(), heads, kv_heads, &table);

  const at::Tensor split = qkv.view({batch, seq, -1, width}).transpose(1, 2);
  const at::Tensor q = rotated(split.narrow(1, 0, heads), theta);
  const at::Tensor k =
      rotated(split.narrow(1, heads, kv_heads), theta).repeat_interleave(heads / kv_heads, 1);
  const at::Tensor v =
      split.narrow(1, heads + kv_heads, kv_heads).repeat_interleave(heads / kv_heads, 1);
  const at::Tensor hidden = at::ones({seq, seq}, at::kBool).triu(1);
  const at::Tensor scores = (q.matmul(k.transpose(2, 3)) / 2.0).masked_fill(hidden, -1e30);
  const at::Tensor expected =
      scores.softmax(3).matmul(v).transpose(1, 2).reshape({batch, seq, heads * width});
  EXPECT_LT((got - expected).abs().max().item<double>(), 1e-12);
}

TEST(CausalAttention, GivesTheSameGradientsByEitherKernel) {
  const RotaryTable table = RotaryTable::of(16, 4, 100, at::kDouble);
  std::vector<at::Tensor> gradients;
  for (const auto kernel : {AttentionKernel::kOfDevice, AttentionKernel::kByDispatch}) {
    const at::Tensor qkv = wave({2, 7, 40}, 0.9).requires_grad_(true);
    const at::Tensor y = causal_attention(qkv * 1.0, 6, 2, &table, kernel);
    y.backward(wave(y.sizes(), 0.3));
    gradients.push_back(qkv.grad());
  }
  EXPECT_LT((gradients[0] - gradients[1]).abs().max().item<double>(), 1e-12);
}

}  // namespace
}  // namespace wattle
