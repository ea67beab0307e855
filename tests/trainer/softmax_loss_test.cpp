#include "trainer/nn/objectives/softmax_loss.h"

#include <ATen/ops/full.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include <cmath>

#include "common/error.h"

namespace wattle {
namespace {

/// The loss of one row of four logits, all 0, whose target is `wanted`.
double loss_of(int64_t wanted, at::ScalarType type) {
  at::Tensor logits = at::zeros({1, 4}, type);
  return softmax_loss_(logits, at::full({1}, wanted, at::kLong), 1.0);
}

TEST(SoftmaxLoss, ATargetThatIsNoClassIsAnErrorRatherThanAnAccessOutsideTheRow) {
  for (const at::ScalarType type : {at::kFloat, at::kDouble}) {
    EXPECT_NEAR(loss_of(3, type), std::log(4.0), 1e-6);
    EXPECT_EQ(loss_of(-1, type), 0);
    for (const int64_t wanted : {int64_t{4}, int64_t{90000000}, int64_t{-2}}) {
      EXPECT_THROW(loss_of(wanted, type), Error) << wanted;
    }
  }
}

}  // namespace
}  // namespace wattle
