#include "parallel/reducers/deterministic/micro_batch_tree.h"

#include <gmock/gmock.h>

#include <string>
#include <vector>

#include "parallel/reducers/deterministic/tree_program.h"

namespace wattle {

void PrintTo(const Block& block, std::ostream* out) {
  *out << "[" << block.begin << " +" << (int64_t{1} << block.level) << ")";
}

namespace {

using testing::ElementsAre;

/// The sum that a program makes, written with brackets.
std::string written(const std::vector<MicroBatches>& shares, int64_t total) {
  const TreeProgram program = TreeProgram::of(shares, total);
  // What a rank holds, written by the same rule.
  const auto held = [&](const Block& block) {
    BlockStack stack(total);
    std::vector<std::string> texts;
    for (int64_t i = block.begin; i < std::min(total, block.begin + (int64_t{1} << block.level));
         ++i) {
      texts.push_back(std::to_string(i));
      for (int merges = stack.push({i, 0}); merges > 0; --merges) {
        const std::string right = texts.back();
        texts.pop_back();
        texts.back() = "(" + texts.back() + "+" + right + ")";
      }
    }
    return texts.size() == 1 ? texts[0] : "broken";
  };
  std::vector<std::string> texts;
  for (size_t i = 0; i < program.blocks.size(); ++i) {
    texts.push_back(held(program.blocks[i].block));
    for (int merges = program.merges[i]; merges > 0; --merges) {
      const std::string right = texts.back();
      texts.pop_back();
      texts.back() = "(" + texts.back() + "+" + right + ")";
    }
  }
  return texts.size() == 1 ? texts[0] : "broken";
}

TEST(MicroBatchTree, SumsInOneOrderWhateverTheShares) {
  const std::string of_five = "(((0+1)+(2+3))+4)";
  EXPECT_EQ(written({{0, 5}}, 5), of_five);
  EXPECT_EQ(written({{0, 1}, {1, 4}}, 5), of_five);
  EXPECT_EQ(written({{0, 3}, {3, 2}}, 5), of_five);
  EXPECT_EQ(written({{3, 2}, {0, 3}}, 5), of_five);
  EXPECT_EQ(written({{0, 1}, {1, 1}, {2, 0}, {2, 3}}, 5), of_five);
  EXPECT_EQ(written({{0, 6}, {6, 1}}, 7), "(((0+1)+(2+3))+((4+5)+6))");
}

TEST(MicroBatchTree, EveryCutOfEveryTotalGivesTheSameSum) {
  for (int64_t total = 1; total <= 20; ++total) {
    const std::string expected = written({{0, total}}, total);
    for (int64_t a = 0; a <= total; ++a) {
      for (int64_t b = a; b <= total; ++b) {
        EXPECT_EQ(written({{0, a}, {a, b - a}, {b, total - b}}, total), expected);
      }
    }
  }
}

TEST(MicroBatchTree, ARankHoldsTheLargestWholeBlocks) {
  EXPECT_THAT(blocks_of({3, 7}, 64).folded, ElementsAre(Block{3, 0}, Block{4, 2}, Block{8, 0}));
  EXPECT_EQ(blocks_of({3, 7}, 64).last, (Block{9, 0}));
  EXPECT_THAT(blocks_of({0, 9}, 64).folded, ElementsAre(Block{0, 3}));
}

TEST(MicroBatchTree, AnAlignedShareNeedsNoMoreSlotsThanItsLogarithm) {
  EXPECT_EQ(blocks_of({5, 1}, 8).slots, 0) << "one micro-batch stays where it was written";
  EXPECT_EQ(blocks_of({4, 2}, 8).slots, 1);
  EXPECT_EQ(blocks_of({8, 8}, 64).slots, 3);
  EXPECT_EQ(blocks_of({0, 1024}, 1024).slots, 10);
}

}  // namespace
}  // namespace wattle
