#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace wattle {

/// How tensors lie one after another in one flat buffer, each at a multiple of kAlignment elements
/// (64 bytes of float32), so that kernels see the same alignment whatever stands before. The gaps
/// hold zeros and take part in reductions and updates as zeros.
struct FlatLayout {
  static constexpr int64_t kAlignment = 16;

  struct Span {
    std::string name;
    int64_t offset = 0;
    int64_t numel = 0;
  };

  std::vector<Span> spans;
  int64_t numel = 0;  ///< of the whole buffer, a multiple of kAlignment

  /// Lays out (name, numel) in the order given.
  static FlatLayout of(const std::vector<std::pair<std::string, int64_t>>& tensors);
};

}  // namespace wattle
