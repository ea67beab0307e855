#include "trainer/state/gradient_norm.h"

#include <ATen/Parallel.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/full.h>
#include <ATen/ops/randn.h>
#include <gmock/gmock.h>

#include <limits>

namespace wattle {
namespace {

constexpr int64_t kNumel = 5 * GradientMeter::kBlock + 77;

TEST(GradientMeter, MeasuresTheEuclideanNorm) {
  GradientMeter meter(kNumel);
  for (at::ScalarType type : {at::kFloat, at::kDouble, at::kBFloat16}) {
    const at::Tensor gradients = at::randn({kNumel}).to(type);
    const GradientNorm measured = meter.measure(gradients);
    EXPECT_NEAR(measured.norm, gradients.to(at::kDouble).norm().item<double>(), 1e-9);
    EXPECT_TRUE(measured.finite);
  }
}

TEST(GradientMeter, LargeFiniteFloatsDoNotOverflow) {
  const GradientNorm measured = GradientMeter(kNumel).measure(at::full({kNumel}, 3e38f));
  EXPECT_TRUE(measured.finite);
  EXPECT_NEAR(measured.norm / (3e38 * std::sqrt(kNumel)), 1, 1e-6);
}

TEST(GradientMeter, FindsOneBadElementAnywhere) {
  GradientMeter meter(kNumel);
  for (float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity(),
                    -std::numeric_limits<float>::infinity()}) {
    for (int64_t at : {int64_t{0}, kNumel / 2, kNumel - 1}) {
      at::Tensor gradients = at::randn({kNumel});
      gradients[at] = bad;
      EXPECT_FALSE(meter.measure(gradients).finite) << bad << " at " << at;
    }
  }
}

TEST(GradientMeter, ThreadsAndShardsDoNotChangeABit) {
  GradientMeter meter(kNumel);
  const at::Tensor gradients = at::randn({kNumel});
  const double whole = meter.measure(gradients).norm;
  const int threads = at::get_num_threads();
  at::set_num_threads(3);
  EXPECT_EQ(meter.measure(gradients).norm, whole);
  at::set_num_threads(threads);

  const int64_t cut = 2 * GradientMeter::kBlock;
  const at::Tensor first = meter.block_sums(gradients.narrow(0, 0, cut)).clone();
  const at::Tensor second = meter.block_sums(gradients.narrow(0, cut, kNumel - cut)).clone();
  EXPECT_EQ(GradientMeter::combine(at::cat({first, second})).norm, whole);
}

TEST(ClipScale, ShrinksOnlyWhatIsTooLong) {
  EXPECT_EQ(clip_scale(0.5, 1.0), 1.0);
  EXPECT_EQ(clip_scale(0.0, 1.0), 1.0);
  EXPECT_NEAR(clip_scale(4.0, 1.0), 0.25, 1e-6);
}

}  // namespace
}  // namespace wattle
