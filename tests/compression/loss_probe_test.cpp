#include "compression/widths/loss_probe.h"

#include <gtest/gtest.h>

#include "parallel/communicators/threads/thread_communicator.h"
#include "tests/compression/compression_support.h"

namespace wattle {
namespace {

using support::CountingText;

/// Before and after one weight of a tiny model is turned over.
std::pair<LossReading, LossReading> readings(int ranks) {
  const CountingText text(40);
  std::pair<LossReading, LossReading> found;
  run_as_threads(ranks, [&](Communicator& world) {
    Model model = build_model(support::tiny_llama(), 1);
    const CalibrationSet calibration(text, 2, world);
    LossProbe probe(model, calibration, 9);
    probe.set_reference();
    const LossReading before = probe.read();
    at::Tensor weight = model.weights[1].weight->value().detach();
    weight.neg_().mul_(20);
    const LossReading after = probe.read();
    if (world.rank() == world.size() - 1) found = {before, after};
  });
  return found;
}

TEST(LossProbe, SeesAChangeOfTheWeights) {
  const auto [before, after] = readings(1);
  EXPECT_NEAR(before.divergence.value(), 0, 1e-6);
  EXPECT_GT(after.divergence.value(), 1e-4);
  EXPECT_NE(before.loss, after.loss);
}

/// Less than float's rounding of a probability's logarithm.
TEST(LossProbe, SeesAChangeThatIsAsSmallAsEightBitsMakeIt) {
  const CountingText text(40);
  run_as_threads(1, [&](Communicator& world) {
    Model model = build_model(support::tiny_llama(), 1);
    const CalibrationSet calibration(text, 2, world);
    LossProbe probe(model, calibration, 9);
    probe.set_reference();
    for (const Weight& each : model.weights) {
      at::Tensor weight = each.weight->value().detach();
      const at::Tensor kept = weight.clone();
      double before = 0;
      for (const double change : {1e-4, 1e-3, 1e-2}) {
        weight.copy_(kept * (1 + change));
        const double divergence = probe.read().divergence.value();
        EXPECT_GT(divergence, 10 * before) << each.weight->name() << " " << change;
        before = divergence;
      }
      weight.copy_(kept);
    }
  });
}

TEST(LossProbe, ReadsTheSameOnAnyNumberOfRanks) {
  const auto one = readings(1);
  for (const int ranks : {2, 3}) {
    const auto more = readings(ranks);
    EXPECT_EQ(one.first.loss, more.first.loss);
    EXPECT_EQ(one.second.loss, more.second.loss);
    EXPECT_EQ(one.second.divergence, more.second.divergence);
  }
}

}  // namespace
}  // namespace wattle
