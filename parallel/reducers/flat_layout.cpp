#include "parallel/reducers/flat_layout.h"

namespace wattle {

FlatLayout FlatLayout::of(const std::vector<std::pair<std::string, int64_t>>& tensors) {
  FlatLayout layout;
  for (const auto& [name, numel] : tensors) {
    layout.spans.push_back({name, layout.numel, numel});
    layout.numel += (numel + kAlignment - 1) / kAlignment * kAlignment;
  }
  return layout;
}

}  // namespace wattle
