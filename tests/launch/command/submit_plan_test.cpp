// What `wattle submit` asks the trainer, and sends of it.
#include <filesystem>

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

class Inputs : public Commands {
 protected:
  Inputs() : before_(std::filesystem::current_path()) {
    folder_.put("text.txt", std::string(5000, 'a'));
    folder_.put("data/text.txt", std::string(5000, 'b'));
    folder_.put("watts.csv", "0,10\n1,10\n");
    std::filesystem::current_path(folder_.path());
  }
  ~Inputs() override { std::filesystem::current_path(before_); }

  /// Hands in a run of a text at `path`.
  Outcome submit(const std::string& path, std::vector<std::string> words = {}) {
    write("j.yaml",
          fmt::format("run: {{name: text, output_dir: data, threads: 1}}\n"
                      "model: {{family: gpt2, layers: 1, width: 16, heads: 2, vocab: 256, "
                      "positions: 16}}\n"
                      "train: {{steps: 3, global_batch: 2}}\n"
                      "data: {{kind: text, path: {}, sequence_length: 16}}\n",
                      path));
    words.insert(words.begin(), {"submit", this->path("j.yaml")});
    return run(words);
  }

  const std::filesystem::path before_;
};

TEST_F(Inputs, WhatIsNotSentIsRefusedBeforeAnythingIs) {
  const Outcome done = submit("text.txt");
  EXPECT_EQ(done.code, 2);
  EXPECT_THAT(done.err, HasSubstr("j.yaml:4:26: data.path: 'text.txt' is not sent with the job"));
  EXPECT_THAT(done.err, HasSubstr("--input text.txt"));
  EXPECT_THAT(done.err, HasSubstr("absolute path"));
  EXPECT_TRUE(daemon_->submits.empty());
}

TEST_F(Inputs, WhatIsSentIsTaken) {
  EXPECT_EQ(submit("text.txt", {"--input", "text.txt"}).code, 0);
  EXPECT_EQ(submit("./data/text.txt", {"--input", "data/text.txt"}).code, 0);
  EXPECT_EQ(submit("text.txt", {"--input", "data/text.txt=text.txt"}).code, 0);
  EXPECT_EQ(daemon_->submits.size(), 3U);
}

TEST_F(Inputs, AnotherFileInItsPlaceDoesNotCount) {
  const Outcome done = submit("data/text.txt", {"--input", "text.txt"});
  EXPECT_EQ(done.code, 2);
  EXPECT_THAT(done.err, HasSubstr("--input data/text.txt"));
}

TEST_F(Inputs, AbsolutePathsAreTheDaemonsToJudge) { EXPECT_EQ(submit(path("text.txt")).code, 0); }

TEST_F(Inputs, APathThatClimbsIsToldHowToBeSent) {
  std::filesystem::current_path(path("data"));
  const Outcome done = submit("text.txt", {"--set", "data.path=../text.txt"});
  EXPECT_EQ(done.code, 2);
  EXPECT_THAT(done.err, HasSubstr("--set data.path=../text.txt: data.path: '../text.txt'"));
  EXPECT_THAT(done.err, HasSubstr("--input ../text.txt=text.txt"));
}

TEST_F(Inputs, EveryKeyThatIsReadCountsAndEachIsNamed) {
  const std::vector<std::string> more = {"--set", "data.validation=data/text.txt", "--set",
                                         "energy={meter: trace, trace_path: watts.csv}"};
  const Outcome done = submit("text.txt", more);
  EXPECT_EQ(done.code, 2);
  EXPECT_THAT(done.err, HasSubstr("data.path: 'text.txt'"));
  EXPECT_THAT(done.err, HasSubstr("data.validation: 'data/text.txt'"));
  EXPECT_THAT(done.err, HasSubstr("energy.trace_path: 'watts.csv'"));
}

TEST_F(Inputs, WhatIsNowhereIsRefusedWithItsPlace) {
  const Outcome done = submit("missing.txt");
  EXPECT_EQ(done.code, 2);
  EXPECT_THAT(done.err, HasSubstr("j.yaml:4:26: data.path: no such file: 'missing.txt'"));
}

TEST_F(Inputs, APointOfASweepIsNamed) {
  const std::string sweep = "job={sweep: {grid: {data.path: [text.txt, data/text.txt]}}}";
  const Outcome done = submit("text.txt", {"--set", sweep, "--input", "text.txt"});
  EXPECT_EQ(done.code, 2);
  EXPECT_THAT(done.err, HasSubstr("job.sweep: data.path=data/text.txt: "));
  EXPECT_EQ(
      submit("text.txt", {"--set", sweep, "--input", "text.txt", "--input", "data/text.txt"}).code,
      0);
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
