#include "trainer/state/flat_parameters.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/ones_like.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/zeros.h>
#include <gmock/gmock.h>

#include "common/error.h"
#include "trainer/state/optimizer/optimizer.h"

namespace wattle {
namespace {

using testing::ElementsAre;

/// Keeps only positive values; gradients pass where the value is kept.
class KeepPositive : public WorkingTransform {
 public:
  std::string name() const override { return "keep_positive"; }
  bool applies_to(int64_t, const Parameter& p) const override { return p.decays(); }
  void transform(int64_t, at::Tensor& values) override { values.clamp_min_(0); }
  void transform_gradient(int64_t, const at::Tensor& master, at::Tensor& gradient) override {
    gradient.mul_(master.gt(0));
  }
};

class AddOne : public WorkingTransform {
 public:
  std::string name() const override { return "add_one"; }
  bool applies_to(int64_t index, const Parameter&) const override { return index == 0; }
  void transform(int64_t, at::Tensor& values) override { values.add_(1); }
};

class Flat : public testing::Test {
 protected:
  at::Tensor initial_ = at::randn({3, 7});
  Parameter matrix_{"matrix", initial_.clone(), LayerKind::kDense, true};
  Parameter bias_{"bias", at::randn({5}), LayerKind::kDense, false};
  std::vector<Parameter*> parameters_ = {&matrix_, &bias_};
  FlatLayout layout_ = layout_of(parameters_);

  FlatParameters flat(Precision precision, at::ScalarType gradients = at::kFloat) {
    return {parameters_, layout_, at::zeros({layout_.numel}, gradients), precision};
  }
};

TEST_F(Flat, InPlainFloatWorkingIsTheMasterItself) {
  FlatParameters flat = this->flat(Precision::kFp32);
  EXPECT_TRUE(at::equal(matrix_.value(), initial_));
  EXPECT_EQ(matrix_.value().data_ptr(), flat.master().data_ptr());
  EXPECT_EQ(bias_.value().data_ptr(), flat.master().narrow(0, 32, 5).data_ptr());
  EXPECT_EQ(bias_.grad().data_ptr(), flat.gradients().narrow(0, 32, 5).data_ptr());
  EXPECT_EQ(flat.master().narrow(0, 21, 11).abs().sum().item<float>(), 0) << "gaps hold zeros";
  EXPECT_TRUE(matrix_.value().requires_grad() && matrix_.value().is_leaf());
}

TEST_F(Flat, Bf16RoundsTheMasterAfterEachPublish) {
  FlatParameters flat = this->flat(Precision::kBf16);
  EXPECT_EQ(flat.master().scalar_type(), at::kFloat);
  EXPECT_TRUE(at::equal(matrix_.value(), initial_.to(at::kBFloat16)));
  flat.master_of(0).mul_(3);
  EXPECT_TRUE(at::equal(matrix_.value(), initial_.to(at::kBFloat16)));
  flat.publish();
  EXPECT_TRUE(at::equal(matrix_.value(), initial_.mul(3).to(at::kBFloat16)));
}

TEST_F(Flat, TransformsComposeInTheirOrder) {
  KeepPositive keep;
  AddOne add;
  for (Precision precision : {Precision::kFp32, Precision::kBf16}) {
    FlatParameters flat = this->flat(precision);
    const at::Tensor bias = bias_.value().clone(), start = flat.master_of(0).clone();
    const at::ScalarType working = matrix_.value().scalar_type();
    flat.add_transform(keep);
    flat.add_transform(add);
    EXPECT_TRUE(at::equal(matrix_.value(), start.clamp_min(0).add(1).to(working)));
    EXPECT_TRUE(at::equal(bias_.value(), bias));
    EXPECT_TRUE(at::equal(flat.master_of(0), start)) << "the master is not touched";
    flat.remove_transform(keep);
    EXPECT_TRUE(at::equal(matrix_.value(), start.add(1).to(working)));
    flat.remove_transform(add);
    EXPECT_TRUE(at::equal(matrix_.value(), start.to(working)));
    EXPECT_EQ(matrix_.value().data_ptr() == flat.master().data_ptr(),
              precision == Precision::kFp32);
    {
      const at::NoGradGuard no_grad;
      matrix_.bind(initial_.clone(), initial_.clone());
    }
  }
}

TEST_F(Flat, GradientsGoBackThroughTheChain) {
  KeepPositive keep;
  FlatParameters flat = this->flat(Precision::kFp32);
  flat.add_transform(keep);
  flat.gradients().fill_(1);
  flat.finish_gradients();
  EXPECT_TRUE(at::equal(matrix_.grad(), initial_.gt(0).to(at::kFloat)));
  EXPECT_TRUE(at::equal(bias_.grad(), at::ones_like(bias_.grad())));
}

TEST_F(Flat, Float64KeepsDoubleMasters) {
  FlatParameters flat = this->flat(Precision::kFp64, at::kDouble);
  EXPECT_EQ(matrix_.value().scalar_type(), at::kDouble);
  EXPECT_TRUE(at::equal(matrix_.value(), initial_.to(at::kDouble)));
}

TEST_F(Flat, RefusesAnotherLayout) {
  const FlatLayout swapped = layout_of({&bias_, &matrix_});
  EXPECT_THROW(FlatParameters(parameters_, swapped, at::zeros({swapped.numel}), Precision::kFp32),
               Error);
  EXPECT_THROW(FlatParameters(parameters_, layout_, at::zeros({16}), Precision::kFp32), Error);
}

TEST_F(Flat, WhatDecaysIsJoinedOverGaps) {
  Parameter other("other", at::zeros({2}), LayerKind::kDense, true);
  const std::vector<Parameter*> all = {&matrix_, &other, &bias_, &matrix_};
  const std::vector<FlatRange> ranges = decaying_ranges(all, layout_of(all));
  ASSERT_EQ(ranges.size(), 2u);
  EXPECT_THAT((std::vector<int64_t>{ranges[0].begin, ranges[0].end}), ElementsAre(0, 34));
  EXPECT_THAT((std::vector<int64_t>{ranges[1].begin, ranges[1].end}), ElementsAre(64, 85));
}

}  // namespace
}  // namespace wattle
