#include "trainer/data/loader.h"

#include <gmock/gmock.h>

#include <random>

#include "common/error.h"
#include "trainer/data/rows/random_dataset.h"

namespace wattle {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

std::string refusal(int64_t global_batch, std::optional<int64_t> micro_batch, int64_t ranks) {
  try {
    BatchPlan::of(global_batch, micro_batch, ranks);
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kConfig);
    return error.what();
  }
  return "";
}

/// Two hundred made-up samples, and what runs over them consume.
class Loading : public testing::Test {
 protected:
  static constexpr uint64_t kSeed = 3;

  /// The sum over the ranks of what steps [first, end) consume.
  StreamHash consumed(const BatchPlan& plan, int64_t first, int64_t end, uint64_t seed = kSeed) {
    StreamHash sum;
    for (int64_t rank = 0; rank < plan.ranks; ++rank) {
      Loader loader(data_, plan, seed);
      for (int64_t step = first; step < end; ++step) {
        const IndexRange mine = plan.micro_batches_of(rank);
        for (int64_t i = mine.first; i < mine.end(); ++i) loader.micro_batch(step, i);
      }
      sum.add(loader.consumed());
    }
    return sum;
  }

  RandomDataset data_{1, 0, 200, 5, RandomDataset::Targets::kBinary};
};

TEST(BatchPlan, PicksTheLargestDivisorUpToEight) {
  EXPECT_EQ(BatchPlan::of(32, {}, 2).micro_batch, 8);
  EXPECT_EQ(BatchPlan::of(12, {}, 2).micro_batch, 6);
  EXPECT_EQ(BatchPlan::of(22, {}, 2).micro_batch, 1);
  EXPECT_EQ(BatchPlan::of(20, {}, 2).micro_batch, 5);
  EXPECT_EQ(BatchPlan::of(3, {}, 3).micro_batch, 1);
}

TEST(BatchPlan, PrintsTheArithmeticOfWhatDoesNotDivide) {
  EXPECT_EQ(refusal(8, {}, 3),
            "train.global_batch: 8 is not divisible by 3 data-parallel ranks (8 = 3 x 2 + 2); 6 or "
            "9 would be");
  EXPECT_THAT(refusal(2, {}, 3), HasSubstr("; 3 would be"));
  EXPECT_EQ(refusal(24, 5, 2),
            "train.micro_batch: 5 does not divide the 12 samples a rank (global_batch 24 / 2 ranks "
            "= 12 = 5 x 2 + 2)");
}

TEST(BatchPlan, SharesTheSamplesOfEveryStepWithoutGapOrOverlap) {
  std::mt19937 random(1);
  for (int trial = 0; trial < 200; ++trial) {
    const int64_t ranks = 1 + random() % 6, micro = 1 + random() % 9, count = 1 + random() % 5;
    const BatchPlan plan = BatchPlan::of(ranks * micro * count, micro, ranks);
    int64_t next = 0;
    for (int64_t step = 0; step < 3; ++step) {
      for (int64_t rank = 0; rank < ranks; ++rank) {
        const IndexRange mine = plan.micro_batches_of(rank);
        for (int64_t i = mine.first; i < mine.end(); ++i) {
          ASSERT_EQ(plan.samples_of(step, i), (IndexRange{next, micro}));
          next += micro;
        }
      }
    }
    ASSERT_EQ(next, 3 * plan.global_batch);
  }
}

TEST(BatchPlan, CountsStepsSoThatNoSampleIsLeftOut) {
  const BatchPlan plan = BatchPlan::of(32, {}, 1);
  EXPECT_EQ(plan.steps_for(10, 1000), 313) << "10,000 samples are 312.5 steps";
  EXPECT_EQ(plan.steps_for(1, 64), 2);
}

TEST(BatchPlan, RefusesEpochsOfMoreStepsThanCanBeCounted) {
  const BatchPlan plan = BatchPlan::of(1, {}, 1);
  EXPECT_EQ(plan.steps_for(kMostSteps / 4, 4), kMostSteps);
  for (const int64_t epochs : {kMostSteps / 4 + 1, kMostSteps}) {
    EXPECT_THAT([&] { plan.steps_for(epochs, 4); },
                testing::ThrowsMessage<Error>(testing::HasSubstr("train.epochs: ")));
  }
  EXPECT_THROW(plan.steps_for(kMostSteps, int64_t{1} << 40), Error);
}

TEST(EvaluationPlan, CoversEverySampleOnceOnAnyNumberOfRanks) {
  for (int64_t samples : {1, 7, 8, 100}) {
    for (int64_t ranks : {1, 2, 3, 5}) {
      const EvaluationPlan plan{samples, 8, ranks};
      int64_t next = 0;
      for (int64_t rank = 0; rank < ranks; ++rank) {
        const IndexRange mine = plan.batches_of(rank);
        for (int64_t i = mine.first; i < mine.end(); ++i) {
          ASSERT_EQ(plan.samples_of(i).first, next);
          next = plan.samples_of(i).end();
        }
      }
      ASSERT_EQ(next, samples);
    }
  }
}

TEST_F(Loading, GivesRowsTheirGlobalIndices) {
  Loader loader(data_, BatchPlan::of(8, 2, 2), kSeed);
  EXPECT_THAT(loader.micro_batch(5, 3).sample_indices, ElementsAre(46, 47));
}

TEST_F(Loading, GivesTheSamplesOfTheOrder) {
  Loader loader(data_, BatchPlan::of(8, 2, 1), kSeed);
  const SampleOrder order(data_.size(), kSeed);
  const Batch batch = loader.micro_batch(40, 1);
  const std::vector<int64_t> expected = {order(322), order(323)};
  EXPECT_TRUE(batch.inputs.equal(data_.fetch(expected).inputs));
}

TEST_F(Loading, ConsumesTheSameStreamOnAnyNumberOfRanks) {
  const StreamHash alone = consumed(BatchPlan::of(24, 24, 1), 0, 30);
  EXPECT_EQ(consumed(BatchPlan::of(24, 4, 2), 0, 30), alone);
  EXPECT_EQ(consumed(BatchPlan::of(24, 1, 3), 0, 30), alone);
  EXPECT_EQ(consumed(BatchPlan::of(24, 6, 4), 0, 30), alone);
}

TEST_F(Loading, GoesOnWithTheSameStreamOnOtherRanks) {
  StreamHash resumed(consumed(BatchPlan::of(24, 4, 2), 0, 11).lanes());
  resumed.add(consumed(BatchPlan::of(24, 2, 3), 11, 30));
  EXPECT_EQ(resumed.hex(), consumed(BatchPlan::of(24, {}, 1), 0, 30).hex());
}

TEST_F(Loading, TellsAnotherStreamApart) {
  const BatchPlan plan = BatchPlan::of(8, 4, 1);
  const StreamHash stream = consumed(plan, 0, 25);
  EXPECT_NE(consumed(plan, 0, 24), stream) << "a step is missing";
  EXPECT_NE(consumed(plan, 0, 25, kSeed + 1), stream) << "the same 200 samples in another order";
  EXPECT_NE(consumed(plan, 25, 50), stream) << "the same 200 samples in the next epoch's order";
  RandomDataset other(2, 0, 200, 5, RandomDataset::Targets::kBinary);
  std::swap(data_, other);
  EXPECT_NE(consumed(plan, 0, 25), stream) << "other content in the same order";
}

TEST_F(Loading, EvaluatesInTheDatasetsOwnOrder) {
  const EvaluationPlan plan{data_.size(), 64, 1};
  EXPECT_EQ(plan.batches(), 4);
  const Batch last = evaluation_batch(data_, plan, 3);
  EXPECT_EQ(last.inputs.size(0), 200 - 192);
  EXPECT_EQ(last.sample_indices.front(), 192);
}

}  // namespace
}  // namespace wattle
