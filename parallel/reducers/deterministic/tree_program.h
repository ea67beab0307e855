#pragma once

#include <algorithm>
#include <cstdint>
#include <span>
#include <vector>

#include "parallel/reducers/deterministic/micro_batch_tree.h"
#include "parallel/reducers/kernels.h"

namespace wattle {

/// A block whose sum some rank holds, and where: in one of its slots, or in its gradients.
struct HeldBlock {
  Block block;
  int rank = 0;
  int slot = kGradients;
  static constexpr int kGradients = -1;
};

/// The additions that make the root of the tree out of blocks that cover it, as a program for a
/// stack: after pushing block i, the last two are added merges[i] times.
struct TreeProgram {
  std::vector<HeldBlock> blocks;  ///< in order of their micro-batches
  std::vector<int> merges;
  int depth = 0;

  /// The blocks of all ranks, given each rank's share; every rank computes the same.
  static TreeProgram of(const std::vector<MicroBatches>& shares, int64_t total);
};

/// Runs a program for n <= kChunk elements. `load(block, to)` fills `to` with the n elements of a
/// held block; `stack` has room for depth * kChunk elements, and the result stands at its start.
template <class Sum, class Load>
void run_program(const TreeProgram& program, int64_t n, std::span<Sum> stack, const Load& load) {
  int64_t top = 0;
  for (size_t i = 0; i < program.blocks.size(); ++i) {
    load(program.blocks[i], stack.data() + top * kChunk);
    ++top;
    for (int merge = 0; merge < program.merges[i]; ++merge, --top) {
      add_elements(stack.data() + (top - 2) * kChunk, stack.data() + (top - 1) * kChunk, n);
    }
  }
}

}  // namespace wattle
