#include "common/config/config_file.h"

#include <fmt/format.h>
#include <gmock/gmock.h>

#include "common/error.h"

namespace wattle {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;

enum class Kind { kCosine, kLinear };

struct Schedule {
  Kind kind = Kind::kCosine;
  int64_t warmup_steps = 0;
  double slope = 1;
  void describe(Fields& f) {
    f.choice("kind", kind, {{"cosine", Kind::kCosine}, {"linear", Kind::kLinear}}, "shape");
    f("warmup_steps", warmup_steps, "steps of linear warm-up").at_least(0);
    f("slope", slope, "how steep a line");
    f.check([this](Checker& c) {
      c.require(kind == Kind::kLinear || !c.given("slope"), "slope", "a cosine has none");
    });
  }
};

struct Prune {
  double final_sparsity = 0.5;
  void describe(Fields& f) { f("final_sparsity", final_sparsity, "share of zeros").at_most(1); }
};

struct Callback {
  std::optional<Prune> prune;
  void describe(Fields& f) { f("prune", prune, "gradual pruning"); }
};

struct Root {
  std::string name;
  double lr = 3e-4;
  std::optional<int64_t> steps, epochs;
  std::vector<double> betas = {0.9, 0.95};
  Schedule schedule;
  std::vector<Callback> compression;
  void describe(Fields& f) {
    f("name", name, "what it is called").required();
    f("lr", lr, "learning rate").greater_than(0);
    f("steps", steps, "optimizer steps").at_least(1);
    f("epochs", epochs, "passes over the data").at_least(1);
    f("betas", betas, "decay rates");
    f("schedule", schedule, "the schedule");
    f("compression", compression, "callbacks");
    f.check([this](Checker& c) {
      c.require(!(steps && epochs), "epochs", "give either steps or epochs");
      c.require(!steps || schedule.warmup_steps < *steps, "schedule.warmup_steps",
                "lies past the end");
    });
  }
};

/// Reads text as run.yaml; what is wrong with it is in `errors`.
struct Reading {
  Root root;
  Diagnostics diagnostics;
  explicit Reading(const std::string& text, std::vector<std::string> overrides = {}) {
    Fields fields = fields_of(root);
    read_config_text(text, "run.yaml", fields, {overrides, {{"steps", "epochs"}}}, diagnostics);
  }
  const std::vector<std::string>& errors() const { return diagnostics.errors(); }
};

TEST(ConfigFile, ReadsEveryTypeAndKeepsDefaults) {
  Reading r(
      "name: a\nsteps: 5\nbetas: [0.8, 0.9]\nschedule: {kind: linear}\n"
      "compression:\n  - prune: {final_sparsity: 0.25}\n");
  ASSERT_THAT(r.errors(), ElementsAre());
  EXPECT_EQ(r.root.name, "a");
  EXPECT_EQ(r.root.lr, 3e-4);
  EXPECT_EQ(r.root.steps, 5);
  EXPECT_THAT(r.root.betas, ElementsAre(0.8, 0.9));
  EXPECT_EQ(r.root.schedule.kind, Kind::kLinear);
  ASSERT_EQ(r.root.compression.size(), 1u);
  EXPECT_EQ(r.root.compression[0].prune->final_sparsity, 0.25);
}

TEST(ConfigFile, ASectionThatAnOverrideMakesIsThatOverrides) {
  Reading r("name: a\n", {"shedule.warmup_steps=1"});
  ASSERT_EQ(r.errors().size(), 1U);
  EXPECT_THAT(r.errors()[0], HasSubstr("--set shedule.warmup_steps=1: shedule: unknown key"));
  Reading listed("name: a\nshedule: {slope: 1}\n", {"shedule.warmup_steps=1"});
  EXPECT_THAT(listed.errors(), ElementsAre(HasSubstr("run.yaml:2:1: shedule: unknown key")));
}

TEST(ConfigFile, NothingWhereSomethingIsRequiredIsSaidOnce) {
  for (const char* text : {"", "# soon\n"}) {
    EXPECT_THAT([&] { Reading r(text); },
                testing::ThrowsMessage<Error>(
                    HasSubstr("run.yaml:1:1: expected sections ('name: ...'), got nothing")));
  }
  EXPECT_THAT(Reading("", {"name=a"}).errors(), ElementsAre());
}

TEST(ConfigFile, NamesEveryMistakeWithItsPlaceInOnePass) {
  Reading r(
      "name: a\nlearning: 1\nlr: fast\nsteps: 0\nschedule:\n  kind: cosin\n  warmup_step: 3\n");
  EXPECT_THAT(
      r.errors(),
      ElementsAre(
          "run.yaml:2:1: learning: unknown key", "run.yaml:3:5: lr: expected number, got 'fast'",
          "run.yaml:4:8: steps: expected at least 1, got 0",
          "run.yaml:6:9: schedule.kind: expected one of cosine, linear, got 'cosin' "
          "(did you mean 'cosine'?)",
          "run.yaml:7:3: schedule.warmup_step: unknown key (did you mean 'warmup_steps'?)"));
}

TEST(ConfigFile, NamesWhatIsMissingOrGivenTwice) {
  EXPECT_THAT(Reading("lr: 1\nlr: 2\n").errors(),
              ElementsAre("run.yaml:2:1: lr: is given twice", "run.yaml:1:1: name: is required"));
}

TEST(ConfigFile, RunsSemanticChecksAtTheKeysPlace) {
  EXPECT_THAT(Reading("name: a\nsteps: 3\nschedule:\n  warmup_steps: 3\n").errors(),
              ElementsAre("run.yaml:4:17: schedule.warmup_steps: lies past the end"));
}

TEST(ConfigFile, OverridesReachIntoSectionsAndLists) {
  Reading r("name: a\nepochs: 3\ncompression:\n  - prune: {final_sparsity: 0.25}\n",
            {"schedule.kind=linear", "compression.0.prune.final_sparsity=0.75", "steps=7"});
  ASSERT_THAT(r.errors(), ElementsAre());
  EXPECT_EQ(r.root.schedule.kind, Kind::kLinear);
  EXPECT_EQ(r.root.compression[0].prune->final_sparsity, 0.75);
  EXPECT_EQ(r.root.steps, 7);
  EXPECT_FALSE(r.root.epochs) << "an override of steps replaces epochs";
}

TEST(ConfigFile, AMistakeInAnOverrideNamesTheOverride) {
  EXPECT_THAT(Reading("name: a\n", {"lr=fast"}).errors(),
              ElementsAre("--set lr=fast: lr: expected number, got 'fast'"));
  EXPECT_THAT(Reading("name: a\n", {"nonsense"}).errors(),
              ElementsAre(HasSubstr("expected key=value")));
  EXPECT_THAT(Reading("name: a\n", {"compression.3.prune=1"}).errors().size(), 1u);
}

TEST(ConfigFile, WhatIsWrittenReadsBackTheSame) {
  Reading first("name: a\nlr: 0.1\nsteps: 9\ncompression:\n  - prune: {final_sparsity: 0.1}\n");
  const std::string text = write_config(fields_of(first.root));
  Reading second(text);
  ASSERT_THAT(second.errors(), ElementsAre());
  EXPECT_EQ(write_config(fields_of(second.root)), text);
}

TEST(ConfigFile, WhatIsWrittenLeavesOutKeysThatItsOwnChecksWouldRefuse) {
  Reading cosine("name: a\n"), linear("name: a\nschedule: {kind: linear}\n");
  EXPECT_THAT(write_config(fields_of(cosine.root)), Not(HasSubstr("slope")));
  EXPECT_THAT(write_config(fields_of(linear.root)), HasSubstr("slope: 1"));
}

TEST(ConfigFile, NumbersAreFinite) {
  EXPECT_THAT(Reading("name: a\nlr: .inf\nbetas: [0.9, .nan]\n"
                      "schedule: {kind: linear, slope: -.inf}\n")
                  .errors(),
              ElementsAre("run.yaml:2:5: lr: expected number, got '.inf' (it must be finite)",
                          "run.yaml:3:8: betas: element 1: expected number, got '.nan' (it must "
                          "be finite)",
                          "run.yaml:4:33: schedule.slope: expected number, got '-.inf' (it must be "
                          "finite)"));
}

TEST(ConfigFile, AFileIsOneDocument) {
  for (const char* end : {"", "---\n", "...\n"}) {
    EXPECT_THAT(Reading(std::string("---\nname: a\n") + end).errors(), ElementsAre()) << end;
  }
  EXPECT_THAT([] { Reading r("name: a\n---\n# more\nsteps: 3\n"); },
              testing::ThrowsMessage<Error>(
                  HasSubstr("run.yaml:4:1: a second document begins; expected one")));
}

TEST(ConfigFile, TextThatIsNoYamlNamesTheLine) {
  try {
    Reading r("name: [a\n");
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ErrorCode::kConfig);
    EXPECT_THAT(e.what(), HasSubstr("run.yaml:2:"));
  }
}

struct Reads {
  std::string path = "default.txt", tokenizer = "bytes";
  std::string output = "run";
  void describe(Fields& f) {
    f("path", path, "read").type = kInputPath;
    f("tokenizer", tokenizer, "read, too").type = fmt::format("bytes or {}", kInputPath);
    f("output", output, "written");
  }
};

struct RootOfReads {
  Reads data;
  std::vector<Reads> more;
  void describe(Fields& f) {
    f("data", data, "");
    f("more", more, "");
  }
};

TEST(ConfigFile, SaysWhatItNamesAsInputs) {
  RootOfReads root;
  Fields fields = fields_of(root);
  Diagnostics diagnostics;
  const std::vector<NamedInput> inputs =
      read_config_text("data: {tokenizer: bytes, output: out}\nmore: [{path: a.txt}]\n", "run.yaml",
                       fields, {{"data.path=b.txt"}, {}}, diagnostics)
          .inputs;
  ASSERT_EQ(inputs.size(), 2U);
  EXPECT_EQ(inputs[0].place, "--set data.path=b.txt");
  EXPECT_EQ(inputs[0].key + " " + inputs[0].path, "data.path b.txt");
  EXPECT_EQ(inputs[1].place, "run.yaml:2:15");
  EXPECT_EQ(inputs[1].key + " " + inputs[1].path, "more.0.path a.txt");
}

}  // namespace
}  // namespace wattle
