#include "trainer/data/tokens/token_dataset.h"

#include <ATen/ops/empty.h>
#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <utility>

#include "common/error.h"

namespace wattle {
namespace {

namespace fs = std::filesystem;

std::vector<std::string> shards_at(const std::string& path) {
  if (!fs::is_directory(path)) return {path};
  std::vector<std::string> paths;
  for (const fs::directory_entry& entry : fs::directory_iterator(path)) {
    if (entry.path().extension() == ".tokens") paths.push_back(entry.path());
  }
  std::sort(paths.begin(), paths.end());
  if (paths.empty()) throw Error(ErrorCode::kFormat, path + ": expected *.tokens inside, got none");
  return paths;
}

int64_t samples_in(const TokenRange& range, const TokenWindow& window) {
  const int64_t overlap = window.reads() - window.length;
  return std::max<int64_t>(0, (range.count - overlap) / window.length);
}

}  // namespace

std::vector<TokenRange> open_tokens(const std::string& path, const std::string& remedy) {
  std::vector<TokenRange> ranges;
  for (const std::string& shard_path : shards_at(path)) {
    auto shard = std::make_shared<const TokenShard>(shard_path, remedy);
    const TokenShardInfo& info = shard->info();
    const TokenShardInfo& first = ranges.empty() ? info : ranges.front().shard->info();
    if (info.vocab != first.vocab || info.tokenizer_hash != first.tokenizer_hash) {
      throw Error(ErrorCode::kFormat,
                  fmt::format("{}: expected the vocabulary ({}) and tokenizer ({:016x}) of {}, got "
                              "{} and {:016x}",
                              shard_path, first.vocab, first.tokenizer_hash,
                              ranges.front().shard->path(), info.vocab, info.tokenizer_hash));
    }
    ranges.push_back({shard, 0, info.count});
  }
  return ranges;
}

int64_t count_tokens(const std::vector<TokenRange>& ranges) {
  int64_t count = 0;
  for (const TokenRange& range : ranges) count += range.count;
  return count;
}

std::vector<TokenRange> take_from_end(std::vector<TokenRange>& ranges, int64_t count) {
  std::vector<TokenRange> taken;
  while (count > 0 && !ranges.empty()) {
    TokenRange& last = ranges.back();
    const int64_t part = std::min(count, last.count);
    taken.insert(taken.begin(), {last.shard, last.first + last.count - part, part});
    last.count -= part;
    count -= part;
    if (last.count == 0) ranges.pop_back();
  }
  return taken;
}

TokenDataset::TokenDataset(std::vector<TokenRange> ranges, const TokenWindow& window, int64_t most)
    : ranges_(std::move(ranges)), window_(window) {
  int64_t samples = 0;
  for (const TokenRange& range : ranges_) {
    samples = std::min(most, samples + samples_in(range, window_));
    ends_.push_back(samples);
  }
  if (samples == 0) {
    throw Error(ErrorCode::kConfig,
                fmt::format("{}: expected at least {} tokens for one sample, got {}",
                            ranges_.empty() ? "data" : ranges_.front().shard->path(),
                            window_.reads(), count_tokens(ranges_)));
  }
  shape_ = {SampleShape::Kind::kTokens, {window_.length}, ranges_.front().shard->info().vocab};
}

Batch TokenDataset::fetch(std::span<const int64_t> indices) const {
  const int64_t count = static_cast<int64_t>(indices.size());
  Batch batch{at::empty({count, window_.length}, at::kLong),
              at::empty({count, window_.length}, at::kLong),
              {indices.begin(), indices.end()}};
  int64_t* inputs = batch.inputs.mutable_data_ptr<int64_t>();
  int64_t* targets = batch.targets.mutable_data_ptr<int64_t>();
  for (const int64_t index : indices) {
    read_sample(index, inputs, targets);
    inputs += window_.length;
    targets += window_.length;
  }
  return batch;
}

void TokenDataset::read_sample(int64_t index, int64_t* inputs, int64_t* targets) const {
  const auto end = std::upper_bound(ends_.begin(), ends_.end(), index);
  const int64_t samples_before = end == ends_.begin() ? 0 : *(end - 1);
  const TokenRange& range = ranges_[static_cast<size_t>(end - ends_.begin())];
  const int64_t start = range.first + (index - samples_before) * window_.length;

  const auto as_span = [](int64_t* data, int64_t count) {
    return std::span(data, static_cast<size_t>(count));
  };
  range.shard->read(start, as_span(inputs, window_.length));
  std::fill_n(targets, window_.length, -1);
  range.shard->read(
      start + window_.score_first + 1,
      as_span(targets + window_.score_first, window_.score_end - window_.score_first));
  if (window_.bos_token >= 0) inputs[0] = window_.bos_token;
}

}  // namespace wattle
