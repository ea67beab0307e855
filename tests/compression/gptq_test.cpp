#include "compression/posttraining/gptq.h"

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/clamp.h>
#include <ATen/ops/diag.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <gtest/gtest.h>

#include <limits>

#include "common/error.h"
#include "tests/compression/gptq_reference.h"

namespace wattle {
namespace {

using support::product_error;
using support::round_to_nearest;

at::Tensor normal(at::IntArrayRef shape, uint64_t seed) {
  at::Tensor values = at::empty(shape);
  return values.normal_(0.0, 1.0, at::make_generator<at::CPUGeneratorImpl>(seed));
}

/// Four-bit integers in groups, scaled to each group's largest magnitude.
class Groups : public ColumnRounder {
 public:
  explicit Groups(int64_t columns) : columns_(columns) {}
  int64_t segment_columns() const override { return columns_; }
  void begin_segment(const at::Tensor& columns) override {
    scale_ = columns.abs().amax(1).div(7).clamp_min(1e-12);
  }
  at::Tensor round(const at::Tensor& column, int64_t) const override {
    return at::clamp((column / scale_).round(), -7, 7) * scale_;
  }

 private:
  int64_t columns_;
  at::Tensor scale_;
};

/// Inputs whose features hang together: a few factors and a little noise.
InputHessian correlated(int64_t inputs, uint64_t seed) {
  InputHessian hessian(inputs);
  const at::Tensor mixing = normal({inputs / 4, inputs}, seed);
  for (uint64_t batch = 0; batch < 4; ++batch) {
    const at::Tensor factors = normal({2, 200, inputs / 4}, seed * 10 + batch);
    hessian.add(factors.matmul(mixing) + normal({2, 200, inputs}, seed * 100 + batch) * 0.3, "x");
  }
  return hessian;
}

TEST(Gptq, LeavesLessErrorInTheProductThanPlainRounding) {
  for (const int64_t group : {16, 32, 96}) {
    const int64_t inputs = 192;
    const at::Tensor weight = normal({40, inputs}, 3);
    const InputHessian hessian = correlated(inputs, 2);
    Groups rounder(group);
    const double plain = product_error(weight, round_to_nearest(weight, rounder), hessian.sums());
    const double better =
        product_error(weight, gptq(weight, hessian.sums(), rounder), hessian.sums());
    EXPECT_LT(better, 0.5 * plain) << "groups of " << group;
    EXPECT_GT(better, 0);
  }
}

TEST(Gptq, IsPlainRoundingWhereInputsAreUncorrelated) {
  const at::Tensor weight = normal({17, 64}, 1);
  const at::Tensor hessian = at::diag(at::arange(1, 65, at::kDouble));
  Groups rounder(16);
  EXPECT_TRUE(gptq(weight, hessian, rounder).equal(round_to_nearest(weight, rounder)));
}

TEST(Gptq, DoesNotDependOnHowItsColumnsAreBlocked) {
  const int64_t inputs = 96;
  const at::Tensor weight = normal({8, inputs}, 5);
  const InputHessian hessian = correlated(inputs, 6);
  for (const int64_t group : {8, 48, 96}) {
    Groups rounder(group);
    const at::Tensor whole = gptq(weight, hessian.sums(), rounder, {.block_columns = inputs});
    for (const int64_t block : {1, 7, 32}) {
      const at::Tensor blocked = gptq(weight, hessian.sums(), rounder, {.block_columns = block});
      // Sums in another order may turn a tie here and there.
      const double differing =
          blocked.sub(whole).abs().gt(1e-3).to(at::kDouble).mean().item<double>();
      EXPECT_LT(differing, 0.02) << group << " " << block;
    }
  }
}

TEST(Gptq, AnInputThatIsAlwaysZeroDoesNoHarm) {
  const at::Tensor weight = normal({8, 32}, 5);
  InputHessian hessian = correlated(32, 6);
  hessian.sums().select(0, 4).zero_();
  hessian.sums().select(1, 4).zero_();
  Groups rounder(32);
  const at::Tensor rounded = gptq(weight, hessian.sums(), rounder);
  EXPECT_LT((rounded - weight).abs().max().item<float>(), 2);
}

TEST(InputHessian, SumsOverBatchesAndRefusesWhatIsNotFinite) {
  const at::Tensor x = normal({6, 3, 8}, 1);
  InputHessian whole(8), parts(8);
  whole.add(x, "x");
  for (int64_t i = 0; i < 6; ++i) parts.add(x[i], "x");
  EXPECT_LT((whole.sums() - parts.sums()).abs().max().item<double>(), 1e-4);
  const at::Tensor wrong = at::full({2, 8}, std::numeric_limits<float>::quiet_NaN());
  EXPECT_THROW(whole.add(wrong, "blocks.0.qkv"), Error);
}

}  // namespace
}  // namespace wattle
