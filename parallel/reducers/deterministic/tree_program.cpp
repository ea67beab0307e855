#include "parallel/reducers/deterministic/tree_program.h"

namespace wattle {

TreeProgram TreeProgram::of(const std::vector<MicroBatches>& shares, int64_t total) {
  TreeProgram program;
  for (size_t rank = 0; rank < shares.size(); ++rank) {
    const RankBlocks held = blocks_of(shares[rank], total);
    const int r = static_cast<int>(rank);
    for (size_t slot = 0; slot < held.folded.size(); ++slot) {
      program.blocks.push_back({held.folded[slot], r, static_cast<int>(slot)});
    }
    if (held.has_last) program.blocks.push_back({held.last, r, HeldBlock::kGradients});
  }
  std::sort(program.blocks.begin(), program.blocks.end(),
            [](const HeldBlock& a, const HeldBlock& b) { return a.block.begin < b.block.begin; });
  BlockStack stack(total);
  for (const HeldBlock& held : program.blocks) program.merges.push_back(stack.push(held.block));
  program.depth = stack.most();
  return program;
}

}  // namespace wattle
