#include "trainer/data/data_source.h"

#include <gmock/gmock.h>

#include "common/config/config_file.h"
#include "common/error.h"
#include "tests/support/scratch_folder.h"

namespace wattle {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

struct Root {
  DataOptions data;
  EvaluateOptions evaluate;
  void describe(Fields& f) {
    f("data", data, "data");
    f("evaluate", evaluate, "evaluation");
  }
};

class Source : public testing::Test {
 protected:
  Source() { folder_.put("text.txt", std::string(100, 'a') + std::string(100, 'b')); }

  /// What is wrong with the YAML text, where @ stands for the test's folder.
  std::vector<std::string> errors(std::string yaml) {
    return read(std::move(yaml)).second.errors();
  }
  DataSource open(std::string yaml, DataUse use = DataUse::kTrainAndEvaluate) {
    const auto [root, diagnostics] = read(std::move(yaml));
    EXPECT_THAT(diagnostics.errors(), IsEmpty());
    prepare_data(root.data, use);
    return open_data(root.data, root.evaluate, use);
  }
  static std::vector<int64_t> first_inputs(const Dataset& data) {
    const std::vector<int64_t> indices = {0};
    const at::Tensor inputs = data.fetch(indices).inputs;
    return {inputs.const_data_ptr<int64_t>(), inputs.const_data_ptr<int64_t>() + inputs.numel()};
  }

  ScratchFolder folder_;

 private:
  std::pair<Root, Diagnostics> read(std::string yaml) {
    for (size_t at; (at = yaml.find('@')) != std::string::npos;) {
      yaml.replace(at, 1, folder_.path());
    }
    std::pair<Root, Diagnostics> result;
    Fields fields = fields_of(result.first);
    read_config_text(yaml, "run.yaml", fields, {}, result.second);
    return result;
  }
};

TEST_F(Source, HoldsTheEndOfATextOut) {
  const DataSource source =
      open("data: {kind: text, path: @text.txt, sequence_length: 10, validation: 0.25}");
  EXPECT_EQ(source.train->size(), 14) << "150 tokens, the last of which is only a target";
  EXPECT_EQ(source.validation->size(), 4);
  EXPECT_THAT(first_inputs(*source.train), testing::Each('a'));
  EXPECT_THAT(first_inputs(*source.validation), testing::Each('b'));
  EXPECT_EQ(source.train->shape().classes, 256);
}

TEST_F(Source, EvaluatesOnAFileOfItsOwn) {
  folder_.put("held_out.txt", std::string(64, 'c'));
  const DataSource source = open(
      "data: {kind: text, path: @text.txt, sequence_length: 10, validation: @held_out.txt}\n"
      "evaluate: {window: 8, score: second_half}");
  EXPECT_EQ(source.train->size(), 19);
  EXPECT_EQ(source.validation->size(), 8);
  EXPECT_EQ(source.validation->shape().inputs, std::vector<int64_t>{8});
}

TEST_F(Source, OpensNoTrainingDataToEvaluate) {
  folder_.put("held_out.txt", std::string(64, 'c'));
  const DataSource source =
      open("data: {kind: text, path: @text.txt, sequence_length: 10, validation: @held_out.txt}",
           DataUse::kEvaluate);
  EXPECT_FALSE(source.train);
  EXPECT_EQ(source.validation->size(), 6);
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder_.path(".tokens")), {}), 1)
      << "the training text is not even tokenised";
}

TEST_F(Source, ReadsShardsAndTextsAlike) {
  open("data: {kind: text, path: @text.txt, sequence_length: 10, cache: @shards}");
  const DataSource source =
      open("data: {kind: tokens, path: @shards, sequence_length: 10, validation: @text.txt}");
  EXPECT_EQ(source.train->size(), 19);
  EXPECT_EQ(source.validation->size(), 19);
}

TEST_F(Source, SaysThatADamagedCacheMayGo) {
  const std::string yaml = "data: {kind: text, path: @text.txt, sequence_length: 10}";
  const DataSource first = open(yaml);
  const std::string shard =
      std::filesystem::directory_iterator(folder_.path(".tokens"))->path().filename();
  const std::string content = folder_.content(".tokens/" + shard);
  std::string flipped = content;
  flipped[64] ^= 1;
  for (const std::string& damaged : {content.substr(0, 100), flipped}) {
    folder_.put(".tokens/" + shard, damaged);
    EXPECT_THAT([&] { first_inputs(*open(yaml).train); },
                testing::ThrowsMessage<Error>(
                    testing::AllOf(HasSubstr(shard + ": token shard, at byte "),
                                   HasSubstr("; it is only a cache of " + folder_.path("text.txt") +
                                             ": delete it, and it is made again"))));
  }
  std::filesystem::remove(folder_.path(".tokens/" + shard));
  EXPECT_THAT(first_inputs(*open(yaml).train), testing::Each('a'));
}

TEST_F(Source, LimitsSamples) {
  const DataSource source = open(
      "data: {kind: text, path: @text.txt, sequence_length: 10, samples: 3}\n"
      "evaluate: {samples: 1}");
  EXPECT_EQ(source.train->size(), 3);
  EXPECT_EQ(source.validation->size(), 1);
}

TEST_F(Source, MakesRandomDataUp) {
  const DataSource source = open("data: {kind: random, inputs: 7}");
  EXPECT_EQ(source.train->size(), 1000);
  EXPECT_EQ(source.validation->size(), 100);
  const std::vector<int64_t> first = {0};
  EXPECT_FALSE(source.train->fetch(first).inputs.equal(source.validation->fetch(first).inputs));
  EXPECT_FALSE(open("data: {kind: random, validation: 0}").validation);
  EXPECT_EQ(open("data: {kind: random, validation: 0.5}").validation->size(), 500);
}

TEST_F(Source, NeedsEnoughTokensForOneSample) {
  EXPECT_THROW(open("data: {kind: text, path: @text.txt, sequence_length: 200}"), Error);
  EXPECT_THROW(open("data: {kind: text, path: @text.txt, sequence_length: 10, validation: 20}"),
               Error);
}

TEST_F(Source, NamesMissingFilesAtTheirKeys) {
  EXPECT_THAT(errors("data: {kind: text, path: @absent.txt}"),
              ElementsAre(HasSubstr("run.yaml:1:26: data.path: no such file: '")));
  EXPECT_THAT(errors("data: {kind: text, path: @text.txt, validation: held/out.txt}"),
              ElementsAre(HasSubstr("data.validation: no such file or folder: 'held/out.txt'")));
  EXPECT_THAT(errors("data: {kind: text, path: @text.txt, tokenizer: byte}"),
              ElementsAre(HasSubstr("data.tokenizer: no such file: 'byte'")));
  EXPECT_THAT(errors("data: {kind: digits}"),
              ElementsAre(HasSubstr("data.path: is required for this kind of data")));
}

TEST_F(Source, RefusesKeysThatWouldDoNothing) {
  EXPECT_THAT(errors("data: {kind: random, path: x, fold: 1, header: true, tokenizer: bytes}"),
              testing::UnorderedElementsAre(
                  HasSubstr("data.path: is for data of kind tokens, text, digits or csv alone"),
                  HasSubstr("data.fold: needs folds"),
                  HasSubstr("data.fold: is for data of kind digits or csv alone"),
                  HasSubstr("data.header: is for data of kind csv alone"),
                  HasSubstr("data.tokenizer: is for data of kind tokens or text alone")));
}

TEST_F(Source, RefusesValuesThatMakeNoSense) {
  const std::string digits = "data: {kind: digits, path: @text.txt, ";
  EXPECT_THAT(errors(digits + "folds: 5, fold: 5}"),
              ElementsAre(HasSubstr("data.fold: expected less than folds (5), got 5")));
  EXPECT_THAT(errors(digits + "folds: 5, validation: 0.1}"),
              ElementsAre(HasSubstr("data.validation: give either validation or folds")));
  EXPECT_THAT(errors(digits + "validation: 1.5}"),
              ElementsAre(HasSubstr("a share in [0, 1) or a number of samples, got 1.5")));
  for (const char* number : {"inf", "nan", "1e30"}) {
    EXPECT_THAT(errors(digits + "validation: " + number + "}"),
                ElementsAre(HasSubstr("data.validation: expected a file, a share in [0, 1) or a "
                                      "number of samples, got ")))
        << number;
  }
  EXPECT_THAT(errors("data: {kind: random, samples: 300000000000000}"),
              ElementsAre(HasSubstr("data.samples: expected at most ")));
  EXPECT_THAT(errors(digits + "validation: @text.txt}"),
              ElementsAre(HasSubstr("a file of its own is for tokens and text")));
  EXPECT_THAT(errors(digits + "targets: uniform}"), ElementsAre(HasSubstr("data.targets: ")));
  EXPECT_THAT(errors("data: {kind: random}\nevaluate: {window: 256, score: half}"),
              ElementsAre(HasSubstr("run.yaml:2:32: evaluate.score: expected one of all, "
                                    "second_half, got 'half'")));
}

}  // namespace
}  // namespace wattle
