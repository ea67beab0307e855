#include "parallel/reducers/deterministic/micro_batch_tree.h"

#include <algorithm>

namespace wattle {

Block BlockStack::promoted(Block block) const {
  const auto width = [&] { return int64_t{1} << block.level; };
  while (width() < total_ && block.begin % (2 * width()) == 0 && block.begin + width() >= total_) {
    ++block.level;
  }
  return block;
}

int BlockStack::push(Block block) {
  blocks_.push_back(promoted(block));
  most_ = std::max(most_, depth());
  int merges = 0;
  while (blocks_.size() >= 2) {
    const Block& left = blocks_[blocks_.size() - 2];
    const Block& right = blocks_.back();
    const int64_t width = int64_t{1} << right.level;
    const bool siblings = left.level == right.level && left.begin % (2 * width) == 0 &&
                          right.begin == left.begin + width;
    if (!siblings) break;
    const Block parent = promoted({left.begin, left.level + 1});
    blocks_.pop_back();
    blocks_.back() = parent;
    ++merges;
  }
  return merges;
}

void BlockStack::clear() {
  blocks_.clear();
  most_ = 0;
}

RankBlocks blocks_of(const MicroBatches& share, int64_t total) {
  RankBlocks result;
  if (share.count == 0) return result;
  BlockStack stack(total);
  for (int64_t i = 0; i + 1 < share.count; ++i) {
    stack.push({share.first + i, 0});
    result.slots = std::max(result.slots, stack.depth());
  }
  result.folded = stack.blocks();
  result.has_last = true;
  result.last = {share.first + share.count - 1, 0};
  return result;
}

}  // namespace wattle
