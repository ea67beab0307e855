// What `wattle submit` asks the trainer, and sends of it.
#include "tests/launch/command/commands_story.h"

namespace wattle {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

constexpr const char* kTiny = R"(
run: {name: tiny, output_dir: run, threads: 1}
model: {family: mlp, inputs: 8, hidden: [16], outputs: 1}
data: {kind: random, samples: 64, inputs: 8}
train: {steps: 30, global_batch: 6, micro_batch: 1}
)";

TEST_F(Commands, SendsWhatTheTrainerSaysOfTheFile) {
  const std::string file = write("run.yaml", kTiny);
  const Outcome done = run({"submit", file, "--set", "train.steps=40"});
  ASSERT_EQ(done.code, 0) << done.err;
  const v1::WorkEstimate& work = daemon_->submits.at(0).work();
  EXPECT_EQ(work.units(), 40);
  EXPECT_THAT(work.rank_counts(), ElementsAre(1, 2, 3, 6));
  EXPECT_THAT(work.kind(), HasSubstr("mlp"));
  EXPECT_GT(work.units_per_second(), 0);
}

TEST_F(Commands, AsksTheTrainerForEachPointOfASweep) {
  const std::string sweep =
      "job: {sweep: {grid: {train.steps: [30, 70], train.global_batch: [6]}}}\n";
  const std::string file = write("run.yaml", kTiny + sweep);
  const Outcome done = run({"submit", file});
  ASSERT_EQ(done.code, 0) << done.err;
  const v1::SubmitRequest& request = daemon_->submits.at(0);
  ASSERT_EQ(request.point_work_size(), 2);
  EXPECT_EQ(request.point_work(0).units(), 30);
  EXPECT_EQ(request.point_work(1).units(), 70);
}

TEST_F(Commands, APointThatCanNotRunIsNamedAndNothingIsSent) {
  const std::string sweep = "job: {sweep: {list: [{train.steps: 5}, {train.steps: none}]}}\n";
  const Outcome done = run({"submit", write("run.yaml", kTiny + sweep)});
  EXPECT_EQ(done.code, 2);
  EXPECT_THAT(done.err, HasSubstr("job.sweep: train.steps=none: "));
  EXPECT_TRUE(daemon_->submits.empty());
}

TEST_F(Commands, OfALargeSweepNoPointIsPlannedApart) {
  std::string seeds = "0";
  for (int seed = 1; seed <= 64; ++seed) seeds += fmt::format(", {}", seed);
  const Outcome done =
      run({"submit", write("run.yaml", kTiny + fmt::format("job: {{sweep: {{grid: {{run.seed: "
                                                           "[{}]}}}}}}\n",
                                                           seeds))});
  ASSERT_EQ(done.code, 0) << done.err;
  EXPECT_THAT(done.err, HasSubstr("of its 65 points none is planned apart"));
  EXPECT_EQ(daemon_->submits.at(0).point_work_size(), 0);
  EXPECT_EQ(daemon_->submits.at(0).work().units(), 30);
}

TEST_F(Commands, AFileThatCanNotRunIsNotSent) {
  const std::string file = write("run.yaml", std::string(kTiny) + "optimizer: {lrr: 1}\n");
  const Outcome done = run({"submit", file});
  EXPECT_EQ(done.code, 2);
  EXPECT_THAT(done.err, HasSubstr("run.yaml:6:13: optimizer.lrr"));
  EXPECT_TRUE(daemon_->submits.empty());
}

}  // namespace
}  // namespace wattle
