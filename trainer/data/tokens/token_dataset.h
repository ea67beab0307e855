#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "trainer/data/dataset.h"
#include "trainer/data/tokens/token_shard.h"

namespace wattle {

/// A part of a shard: tokens [first, first + count).
struct TokenRange {
  std::shared_ptr<const TokenShard> shard;
  int64_t first = 0;
  int64_t count = 0;
};

/// One shard, or all `*.tokens` of a folder in the order of their names. Throws Error(kFormat) if
/// there is none or if their vocabularies or tokenizers differ. `remedy` as in TokenShard.
std::vector<TokenRange> open_tokens(const std::string& path, const std::string& remedy = "");

int64_t count_tokens(const std::vector<TokenRange>& ranges);

/// Takes the last `count` tokens off `ranges` and returns them.
std::vector<TokenRange> take_from_end(std::vector<TokenRange>& ranges, int64_t count);

/// What a sample is: `length` tokens in; position p in [score_first, score_end) has the next token
/// as its target, the others -1.
struct TokenWindow {
  int64_t length = 0;
  int64_t score_first = 0;
  int64_t score_end = 0;
  int64_t bos_token = -1;  ///< put over the first input, if not -1

  /// Every position scored; the last one's target is the first token of the next window.
  static TokenWindow all(int64_t length) { return {length, 0, length}; }
  /// As llama-perplexity: positions [length / 2, length - 1), all targets inside the window.
  static TokenWindow second_half(int64_t length) { return {length, length / 2, length - 1}; }

  /// Tokens that a sample reads: window i starts at token i * length.
  int64_t reads() const { return score_end + 1 > length ? score_end + 1 : length; }
};

/// Windows laid end to end over token ranges; none crosses from one range to the next, and what is
/// left at a range's end, less than a window, is not used.
class TokenDataset final : public Dataset {
 public:
  /// The first `most` samples there are. Throws Error(kConfig) naming the shard if there is none.
  TokenDataset(std::vector<TokenRange> ranges, const TokenWindow& window, int64_t most);

  int64_t size() const override { return ends_.back(); }
  const SampleShape& shape() const override { return shape_; }
  /// inputs and targets [batch, length] int64.
  Batch fetch(std::span<const int64_t> indices) const override;

 private:
  void read_sample(int64_t index, int64_t* inputs, int64_t* targets) const;

  std::vector<TokenRange> ranges_;
  std::vector<int64_t> ends_;  ///< range i holds samples [ends_[i - 1], ends_[i])
  TokenWindow window_;
  SampleShape shape_;
};

}  // namespace wattle
