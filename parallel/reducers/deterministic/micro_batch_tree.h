#pragma once

#include <cstdint>
#include <vector>

#include "parallel/micro_batches.h"

namespace wattle {

/// The fixed binary tree over the micro-batches [0, total) of a step, by which they are summed.
///
/// Its nodes are the aligned blocks [i * 2^level, (i + 1) * 2^level), cut off at total. A node's
/// sum is that of its left half plus that of its right half, or of its left half alone if total
/// leaves the right one empty. So each sum has one order of additions, which depends on total
/// alone, whoever evaluates which part of the tree.
struct Block {
  int64_t begin = 0;
  int level = 0;
  friend bool operator==(const Block&, const Block&) = default;
};

/// Blocks that stand side by side, merged like the digits of a binary counter: a block that
/// completes its parent is added to its left neighbour.
class BlockStack {
 public:
  explicit BlockStack(int64_t total) : total_(total) {}

  /// Pushes the block right of the last one; returns how often the last two blocks are then to be
  /// added, before anything else is pushed.
  int push(Block block);

  const std::vector<Block>& blocks() const { return blocks_; }
  int depth() const { return static_cast<int>(blocks_.size()); }
  /// The most blocks that there were at once, before merging.
  int most() const { return most_; }
  void clear();

 private:
  /// A block that has no right neighbour below total stands for its parent as well.
  Block promoted(Block block) const;

  int64_t total_;
  int most_ = 0;
  std::vector<Block> blocks_;
};

/// How a rank that sums its micro-batches one after another holds them when it is done: the blocks
/// of all but the last one, and the last one by itself.
struct RankBlocks {
  std::vector<Block> folded;
  bool has_last = false;
  Block last;
  /// Sums that it needs to hold at once on the way.
  int slots = 0;
};
RankBlocks blocks_of(const MicroBatches& share, int64_t total);

}  // namespace wattle
