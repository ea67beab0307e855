#include "trainer/models/model_options.h"

#include <gmock/gmock.h>

#include "common/config/config_file.h"

namespace wattle {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

struct Reading {
  ModelOptions options;
  Diagnostics diagnostics;
  explicit Reading(const std::string& text) {
    Fields fields = fields_of(options);
    read_config_text(text, "run.yaml", fields, {}, diagnostics);
  }
  const std::vector<std::string>& errors() const { return diagnostics.errors(); }
};

TEST(ModelOptions, DerivedDefaultsFollowTheFamily) {
  Reading gpt2("family: gpt2\nwidth: 384\nheads: 6\n");
  ASSERT_THAT(gpt2.errors(), ElementsAre());
  EXPECT_EQ(gpt2.options.resolved_ffn_width(), 4 * 384);
  Reading llama("family: llama\nwidth: 576\nheads: 9\nkv_heads: 3\n");
  ASSERT_THAT(llama.errors(), ElementsAre());
  EXPECT_EQ(llama.options.resolved_ffn_width(), 1536);
  EXPECT_EQ(llama.options.resolved_kv_heads(), 3);
}

TEST(ModelOptions, AKeyOfAnotherFamilyIsAnError) {
  EXPECT_THAT(Reading("family: gpt2\nkv_heads: 2\nhidden: [3]\n").errors(),
              ElementsAre(HasSubstr("kv_heads: applies to families llama, not to gpt2"),
                          HasSubstr("hidden: applies to families mlp, vgg, not to gpt2")));
}

TEST(ModelOptions, TheShapeComesFromTheFileOrFromTheFamily) {
  EXPECT_THAT(Reading("init_from: model.gguf\n").errors(), ElementsAre());
  EXPECT_THAT(Reading("init_from: model.gguf\nlayers: 3\n").errors(),
              ElementsAre(HasSubstr("layers: the shape comes from the file")));
  EXPECT_THAT(Reading("layers: 3\n").errors(), testing::Contains(HasSubstr("family: is required")));
}

TEST(ModelOptions, ImpossibleShapesAreErrors) {
  EXPECT_THAT(Reading("family: gpt2\nheads: 7\n").errors(),
              ElementsAre(HasSubstr("heads: 7 heads do not divide width 384")));
  EXPECT_THAT(Reading("family: llama\nkv_heads: 4\n").errors(),
              ElementsAre(HasSubstr("kv_heads: 4 kv_heads do not divide 6 heads")));
  EXPECT_THAT(Reading("family: mlp\n").errors(),
              ElementsAre(HasSubstr("inputs: is required for an mlp")));
  EXPECT_THAT(Reading("family: mlp\ninputs: 3\noutputs: 2\nloss: bce\n").errors(),
              ElementsAre(HasSubstr("loss: bce needs outputs: 1")));
  EXPECT_THAT(Reading("family: mlp\ninputs: 3\nhidden: [4, 9000000000000]\n").errors(),
              ElementsAre(HasSubstr("hidden: every layer needs 1 to 2147483648 neurons")));
  EXPECT_THAT(Reading("family: gpt2\nvocab: 9000000000000\n").errors(),
              ElementsAre(HasSubstr("vocab: expected at most 2147483648")));
}

}  // namespace
}  // namespace wattle
