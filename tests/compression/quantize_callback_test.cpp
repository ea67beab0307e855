#include "compression/quantize/quantize_callback.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/zeros.h>
#include <gmock/gmock.h>

#include <algorithm>
#include <functional>

#include "common/error.h"
#include "compression/deployment.h"
#include "compression/make_callbacks.h"
#include "parallel/communicators/threads/thread_communicator.h"
#include "trainer/models/build_model.h"

namespace wattle {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::SizeIs;

ModelOptions tiny_llama(bool tied, int64_t width = 64) {
  ModelOptions options;
  options.family = ModelFamily::kLlama;
  options.layers = 2;
  options.width = width;
  options.heads = 2;
  options.ffn_width = 96;
  options.tied_embeddings = tied;
  return options;
}

CompressionEntry quantize(const std::function<void(QuantizeOptions&)>& set = {}) {
  CompressionEntry entry;
  entry.quantize.emplace();
  if (set) set(*entry.quantize);
  return entry;
}

class Quantising : public testing::Test {
 protected:
  void build(const ModelOptions& options) {
    model_ = build_model(options, 1);
    const FlatLayout layout = layout_of(model_.parameters);
    flat_ = std::make_unique<FlatParameters>(model_.parameters, layout, at::zeros({layout.numel}),
                                             Precision::kFp32);
  }
  void add(std::vector<CompressionEntry> entries, const WeightShards& shards = {}) {
    CompressionTools tools;
    tools.shards = shards;
    callbacks_ = make_compression_callbacks(entries, model_, *flat_, tools);
  }
  TrainingView view(int64_t step) { return {model_, *flat_, step, 10, 0, 1}; }
  void begin_step(int64_t step) {
    for (const auto& callback : callbacks_) callback->step_begins(view(step));
  }
  std::string refusal_of(std::vector<CompressionEntry> entries, const WeightShards& shards = {}) {
    try {
      add(std::move(entries), shards);
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kConfig);
      return error.what();
    }
    return "";
  }
  QuantizeCallback& entry() { return dynamic_cast<QuantizeCallback&>(*callbacks_.front()); }
  std::string format_of(const std::string& parameter) {
    const Deployment deployment = deployment_of(*flat_);
    const auto it = deployment.find(parameter);
    return it == deployment.end() ? "float" : it->second.format->name();
  }
  /// Whether forward reads the weight rounded to its format.
  bool reads_rounded(int64_t index) {
    at::Tensor rounded = flat_->master_of(index).clone();
    make_weight_format("gguf:q4_0")->fake_quantise(rounded);
    return at::equal(model_.parameters[index]->value(), rounded);
  }
  int64_t index_of(const std::string& name) {
    for (size_t i = 0; i < model_.parameters.size(); ++i) {
      if (model_.parameters[i]->name() == name) return static_cast<int64_t>(i);
    }
    return -1;
  }

  Model model_;
  std::unique_ptr<FlatParameters> flat_;
  std::vector<std::unique_ptr<Callback>> callbacks_;
};

TEST_F(Quantising, FollowsItsSchedule) {
  build(tiny_llama(true));
  const int64_t index = index_of("blocks.0.attention.qkv.weight");
  add({quantize([](auto& o) {
    o.begin_step = 2;
    o.end_step = 5;
  })});
  for (int64_t step = 0; step < 7; ++step) {
    begin_step(step);
    EXPECT_EQ(reads_rounded(index), step >= 2 && step < 5) << "step " << step;
  }
  EXPECT_THAT(callbacks_.front()->save_state(), HasSubstr(R"("step":5,"what":"ends")"));
}

TEST_F(Quantising, TiedEmbeddingsByTheirKey) {
  using enum EmbeddingFormat;
  for (const auto& entry : {std::pair{kAuto, "gguf:q8_0"}, std::pair{kMixed, "gguf:q8_0"},
                            std::pair{kTarget, "gguf:q4_0"}, std::pair{kFloat, "float"}}) {
    const EmbeddingFormat key = entry.first;
    const std::string format = entry.second;
    build(tiny_llama(true));
    add({quantize([key](auto& o) { o.embeddings = key; })});
    begin_step(0);
    EXPECT_EQ(format_of("embed.tokens.weight"), format);
    EXPECT_EQ(format_of("blocks.1.feed_forward.down.weight"), "gguf:q4_0");
    EXPECT_EQ(format_of("final_norm.weight"), "float");
  }
}

TEST_F(Quantising, OfUntiedEndsOnlyTheOutputIsLarger) {
  build(tiny_llama(false));
  add({quantize()});
  begin_step(0);
  EXPECT_EQ(format_of("embed.tokens.weight"), "gguf:q4_0");
  EXPECT_EQ(format_of("head.weight"), "gguf:q8_0");
}

TEST_F(Quantising, RowsOf256GiveTheOutputQ6K) {
  using enum WeightTargetType;
  for (const auto& entry : {std::pair{kGgufQ4_0, "gguf:q6_k"}, std::pair{kGgufQ4_1, "gguf:q6_k"},
                            std::pair{kGgufQ8_0, "gguf:q8_0"}}) {
    build(tiny_llama(false, 256));
    add({quantize([target = entry.first](auto& o) { o.target = target; })});
    begin_step(0);
    EXPECT_EQ(format_of("head.weight"), entry.second);
    EXPECT_NE(format_of("embed.tokens.weight"), "gguf:q6_k");
  }
}

TEST_F(Quantising, ASavedStateGoesOnAsItWas) {
  build(tiny_llama(true));
  add({quantize([](auto& o) { o.begin_step = 2; })});
  begin_step(3);
  const std::string state = callbacks_.front()->save_state();
  build(tiny_llama(true));
  add({quantize([](auto& o) { o.begin_step = 2; })});
  callbacks_.front()->load_state(state);
  EXPECT_TRUE(reads_rounded(index_of("blocks.0.attention.qkv.weight")));
  EXPECT_EQ(callbacks_.front()->save_state(), state);
}

TEST_F(Quantising, WhatBeginsAfterTrainingLearnsNothingAndTakesTheFormatsOwnScales) {
  constexpr int64_t kSteps = 10;
  for (const int64_t last : {kSteps, int64_t{4}}) {
    build(tiny_llama(true));
    add({quantize([](auto& o) {
      o.target = WeightTargetType::kInt8;
      o.begin_step = kSteps;
      o.learn = ScaleLearning::kStep;
    })});
    const int64_t index = index_of("blocks.0.attention.qkv.weight");
    at::Tensor rounded = flat_->master_of(index).clone();
    make_weight_format("int8:channel")->fake_quantise(rounded);
    EXPECT_TRUE(entry().training_is_done(view(last)));
    EXPECT_TRUE(at::equal(model_.parameters[index]->value(), rounded)) << "after step " << last;
    EXPECT_EQ(entry().quantizer().learning_of(index), ScaleLearning::kNone);
    if (last < kSteps) continue;
    begin_step(last);  // of more steps
    EXPECT_EQ(entry().quantizer().learning_of(index), ScaleLearning::kStep);
    EXPECT_FALSE(at::equal(model_.parameters[index]->value(), rounded));
  }
}

TEST_F(Quantising, ALookAtRangesIsTakenOnceThoughItsStepBeginsAgain) {
  const CompressionEntry looking = quantize([](auto& o) {
    o.target = WeightTargetType::kInt8;
    o.weight_ranges.emplace() = {.observer = {.kind = ObserverKind::kMovingAverage}, .every = 2};
  });
  int64_t index = 0;
  const auto build_looking = [&] {
    build(tiny_llama(true));
    index = index_of("blocks.0.attention.qkv.weight");
    add({looking});
  };
  const auto scale = [&] { return entry().quantizer().scales_of(index)->scale; };
  build_looking();
  begin_step(0);
  flat_->master_of(index).mul_(3);
  begin_step(2);
  const at::Tensor looked = scale().clone();
  const std::string state = entry().save_state();
  build_looking();
  flat_->master_of(index).mul_(3);
  entry().load_state(state);
  scale().copy_(looked);
  begin_step(2);
  EXPECT_TRUE(at::equal(scale(), looked));
  begin_step(4);
  EXPECT_FALSE(at::equal(scale(), looked));
  EXPECT_THAT(compression_ledger({{entry().name(), state}}),
              testing::Not(HasSubstr("ranges_observed_at")));
}

TEST_F(Quantising, TheLedgerOfEqualRunsIsEqualAndNamesWhatHappened) {
  build(tiny_llama(true));
  add({quantize()});
  begin_step(0);
  const std::map<std::string, std::string> sections = {
      {"energy", R"({"joules": 7})"},
      {callbacks_.front()->name(), callbacks_.front()->save_state()}};
  const std::string ledger = compression_ledger(sections);
  EXPECT_THAT(ledger, HasSubstr("compression.0.quantize"));
  EXPECT_THAT(ledger, testing::Not(HasSubstr("joules")));
  EXPECT_EQ(compression_ledger({{"energy", "{}"}}), "");
  EXPECT_THAT(text_hash(ledger), SizeIs(32));
  EXPECT_NE(text_hash(ledger), text_hash(ledger + " "));
}

TEST_F(Quantising, RefusesWhatTheModelCannotHave) {
  build(tiny_llama(true, 40));
  EXPECT_THAT(refusal_of({quantize()}),
              HasSubstr("compression.0.quantize: embed.tokens.weight: a row of 40 values"));
  build(tiny_llama(true));
  EXPECT_THAT(refusal_of({quantize([](auto& o) { o.target = WeightTargetType::kGgufQ6K; })}),
              HasSubstr("a row of 64 values is no whole number of Q6_K's blocks of 256"));
  EXPECT_THAT(refusal_of({quantize([](auto& o) { o.targets = {"blocks.7"}; })}),
              HasSubstr("matches no weight"));
  EXPECT_THAT(refusal_of({quantize([](auto& o) { o.end_step = 6; }),
                          quantize([](auto& o) { o.begin_step = 5; })}),
              HasSubstr("at the same time, from step 5 on"));
  EXPECT_EQ(refusal_of({quantize([](auto& o) { o.end_step = 5; }),
                        quantize([](auto& o) { o.begin_step = 5; })}),
            "");
}

TEST_F(Quantising, AHandOverBetweenEntriesRoundsOnce) {
  build(tiny_llama(true));
  add({quantize([](auto& o) {
         o.target = WeightTargetType::kGgufQ8_0;
         o.end_step = 2;
       }),
       quantize([](auto& o) { o.begin_step = 2; })});
  begin_step(1);
  EXPECT_EQ(format_of("blocks.0.attention.qkv.weight"), "gguf:q8_0");
  begin_step(2);
  EXPECT_EQ(format_of("blocks.0.attention.qkv.weight"), "gguf:q4_0");
  EXPECT_TRUE(reads_rounded(index_of("blocks.0.attention.qkv.weight")));
}

/// A model that holds a part of one weight, split along its rows.
class QuantisingParts : public Quantising {
 protected:
  const std::string name_ = "blocks.0.feed_forward.down.weight";  // [64, 96] here
  WeightShards split_at(int64_t offset, Communicator& ranks) {
    return {{name_, {.dim = 1, .offset = offset, .full_size = 192, .ranks = &ranks}}};
  }
};

TEST_F(QuantisingParts, TakeTheWholeWeightsScales) {
  run_as_threads(2, [&](Communicator& ranks) {
    Model model = build_model(tiny_llama(true), 1);
    const FlatLayout layout = layout_of(model.parameters);
    FlatParameters flat(model.parameters, layout, at::zeros({layout.numel}), Precision::kFp32);
    const int64_t index =
        std::ranges::find(model.parameters, name_, &Parameter::name) - model.parameters.begin();
    at::Tensor master = flat.master_of(index);
    const at::Tensor whole = at::cat({master, master * 3}, 1);
    master.mul_(ranks.rank() == 0 ? 1 : 3);
    CompressionTools tools;
    tools.shards = split_at(96 * ranks.rank(), ranks);
    const auto callbacks = make_compression_callbacks(
        {quantize([](auto& o) { o.target = WeightTargetType::kInt8; })}, model, flat, tools);
    callbacks.front()->step_begins({model, flat, 0, 10, 0, 1});
    at::Tensor rounded = whole.clone();
    make_weight_format("int8:channel")->fake_quantise(rounded);
    EXPECT_TRUE(
        at::equal(model.parameters[index]->value(), rounded.narrow(1, 96 * ranks.rank(), 96)));
    EXPECT_THROW(deployment_of(flat), Error) << "a part would have a file of its own";
  });
}

TEST_F(QuantisingParts, AreRefusedWhereABlockIsCutOrWholeWeightsAreNeeded) {
  build(tiny_llama(true));
  run_as_threads(1, [&](Communicator& ranks) {
    EXPECT_THAT(refusal_of({quantize()}, split_at(80, ranks)),
                HasSubstr("compression.0.quantize: " + name_ +
                          ": dimension 1 of 192 values: "
                          "expected a split at multiples of 32"));
    const WeightShards good = split_at(96, ranks);
    EXPECT_THAT(refusal_of({quantize([](auto& o) { o.gptq.emplace(); })}, good),
                HasSubstr("gptq: " + name_ + " lies on"));
    EXPECT_THAT(refusal_of({quantize([](auto& o) {
                             o.widths.emplace().formats = {"gguf:q4_0", "gguf:q8_0"};
                           })},
                           good),
                HasSubstr("widths: " + name_ + " lies on"));
  });
}

}  // namespace
}  // namespace wattle
