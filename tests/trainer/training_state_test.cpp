#include "trainer/checkpoint/training_state.h"

#include <ATen/ops/equal.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/zeros.h>
#include <gmock/gmock.h>

#include "common/error.h"
#include "tests/trainer/checkpoint_support.h"

namespace wattle {
namespace {

using testing::HasSubstr;
using testing::ThrowsMessage;

/// Scales by a number that it keeps.
class Scaled : public WorkingTransform {
 public:
  std::string name() const override { return "scaled"; }
  bool applies_to(int64_t, const Parameter&) const override { return true; }
  void transform(int64_t, at::Tensor& values) override { values.mul_(scale_); }
  std::vector<NamedTensor> state() override { return {{"scale", scale_}}; }

 private:
  at::Tensor scale_ = at::randn({1});
};

/// All that one replica of a run holds; random until it is restored.
struct Replica {
  at::NoGradGuard no_grad;
  Parameter weight{"weight", at::randn({40, 13}), LayerKind::kDense, true};
  Parameter bias{"bias", at::randn({13}), LayerKind::kDense, false};
  std::vector<Parameter*> all = {&weight, &bias};
  FlatLayout layout = layout_of(all);
  FlatParameters parameters{all, layout, at::zeros({layout.numel}), Precision::kFp32};
  Scaled scaled;
  std::unique_ptr<Optimizer> optimizer;
  std::vector<Buffer> buffers = {{"running_mean", at::randn({13})}};
  TrainingState state() { return {parameters, *optimizer, buffers}; }

  /// The optimizer holds `range`, everything unless given.
  explicit Replica(FlatRange range = {0, -1}) {
    if (range.end < 0) range.end = layout.numel;
    optimizer = make_optimizer({}, {}, range, parameters.master());
    parameters.add_transform(scaled);
    step(1);
  }
  void step(int64_t number) {
    for (Parameter* parameter : all) parameter->grad().normal_();
    const FlatRange range = optimizer->range();
    optimizer->update(parameters.master().narrow(0, range.begin, range.numel()),
                      parameters.gradients().narrow(0, range.begin, range.numel()),
                      {number, 0.1, 1.0});
    parameters.publish();
  }
  void restore(const std::filesystem::path& checkpoint) {
    TrainingState mine = state();
    CheckpointReader(checkpoint).read(slices_of(mine, {0, layout.numel}));
    parameters.publish();
  }
};

void expect_same(const at::Tensor& a, const at::Tensor& b) { EXPECT_TRUE(at::equal(a, b)); }

class TrainingStates : public CheckpointFixture {
 protected:
  /// Saves from replicas that each write their share of the same state, or what they alone hold.
  void save(std::vector<Replica*> replicas, std::vector<FlatRange> shares) {
    std::vector<std::unique_ptr<Checkpointer>> all;
    const int ranks = static_cast<int>(replicas.size());
    for (int rank = 0; rank < ranks; ++rank) {
      TrainingState state = replicas[rank]->state();
      all.push_back(std::make_unique<Checkpointer>(output_dir_, options_, rank, ranks));
      all.back()->begin(meta(1), slices_of(state, shares[rank]));
      all.back()->finish();
    }
    for (auto rank = all.rbegin(); rank != all.rend(); ++rank) {
      (*rank)->settle(WriteState::kDurable);
    }
  }
};

TEST_F(TrainingStates, ReplicasWriteSharesAndRestoreAll) {
  Replica saved, restored;
  const int64_t numel = saved.layout.numel;
  save({&saved, &saved, &saved},
       {even_share(numel, 0, 3), even_share(numel, 1, 3), even_share(numel, 2, 3)});
  EXPECT_FALSE(at::equal(restored.weight.value(), saved.weight.value()));
  restored.restore(newest());
  expect_same(restored.parameters.master(), saved.parameters.master());
  EXPECT_TRUE(at::equal(restored.weight.value(), saved.weight.value())) << "the transform's too";
  EXPECT_TRUE(at::equal(restored.buffers[0].value, saved.buffers[0].value));
  for (size_t i = 0; i < 2; ++i) {
    expect_same(restored.optimizer->state()[i].value, saved.optimizer->state()[i].value);
  }
}

TEST_F(TrainingStates, ShardedOptimizersRestoreOnOtherShards) {
  Replica whole;
  const int64_t numel = whole.layout.numel;
  save({&whole}, {{0, numel}});
  const FlatRange low{0, 160}, high{160, numel};
  Replica first(low), second(high);
  first.restore(newest());
  second.restore(newest());
  save({&first, &second}, {low, high});
  Replica again;
  again.restore(newest());
  for (size_t i = 0; i < 2; ++i) {
    expect_same(again.optimizer->state()[i].value, whole.optimizer->state()[i].value);
  }
  expect_same(again.parameters.master(), whole.parameters.master());
}

TEST_F(TrainingStates, WeightsAloneLoadByName) {
  Replica saved;
  save({&saved}, {{0, saved.layout.numel}});
  Parameter bias("bias", at::zeros({13}, at::kDouble), LayerKind::kDense, false);
  Model model;
  model.parameters = {&bias};
  load_weights(CheckpointReader(newest()), model);
  EXPECT_TRUE(at::equal(bias.value(), saved.parameters.master_of(1).to(at::kDouble)));

  Parameter other("other", at::zeros({13}), LayerKind::kDense, false);
  model.parameters = {&other};
  EXPECT_THAT([&] { load_weights(CheckpointReader(newest()), model); },
              ThrowsMessage<Error>(HasSubstr("holds no tensor model.other")));
  Parameter wider("bias", at::zeros({14}), LayerKind::kDense, false);
  model.parameters = {&wider};
  EXPECT_THAT([&] { load_weights(CheckpointReader(newest()), model); },
              ThrowsMessage<Error>(HasSubstr("model.bias: expected Float [14], got Float [13]")));
}

TEST_F(TrainingStates, SplitParametersBecomeWholeOnes) {
  Replica left, right;  // two tensor shards: columns 0..12 and 13..25 of [40, 26]
  std::vector<std::unique_ptr<Checkpointer>> all;
  for (int rank : {0, 1}) {
    Replica& replica = rank == 0 ? left : right;
    TrainingState state = replica.state();
    state.placements = {{{40, 26}, {0, 13 * rank}}, {{26}, {13 * rank}}};
    std::vector<TensorSlice> slices = slices_of(state, {0, replica.layout.numel});
    std::erase_if(slices, [&](const TensorSlice& slice) {
      return rank == 1 && (slice.name.starts_with("buffer") || slice.name.starts_with("transform"));
    });
    all.push_back(std::make_unique<Checkpointer>(output_dir_, options_, rank, 2));
    all.back()->begin(meta(1), slices);
    all.back()->finish();
  }
  all[1]->settle(WriteState::kDurable);
  all[0]->settle(WriteState::kDurable);
  all[0]->finish();
  const at::Tensor weight = CheckpointReader(newest()).read_whole("model.weight");
  EXPECT_TRUE(at::equal(weight.narrow(1, 0, 13), left.parameters.master_of(0)));
  EXPECT_TRUE(at::equal(weight.narrow(1, 13, 13), right.parameters.master_of(0)));
}

TEST(EvenShare, CoversEverythingInOrder) {
  for (int64_t numel : {0, 16, 160, 1600, 12'345 * 16}) {
    for (int size : {1, 2, 3, 7, 64}) {
      int64_t end = 0;
      for (int rank = 0; rank < size; ++rank) {
        const FlatRange share = even_share(numel, rank, size);
        EXPECT_EQ(share.begin, end);
        EXPECT_EQ(share.begin % FlatLayout::kAlignment, 0);
        end = share.end;
      }
      EXPECT_EQ(end, numel);
    }
  }
}

}  // namespace
}  // namespace wattle
