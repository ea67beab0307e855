#include "trainer/data/data_source.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <limits>
#include <utility>

#include "common/error.h"
#include "trainer/data/rows/random_dataset.h"
#include "trainer/data/rows/row_dataset.h"
#include "trainer/data/tokens/text_tokens.h"
#include "trainer/data/tokens/token_dataset.h"

namespace wattle {
namespace {

constexpr int64_t kAll = std::numeric_limits<int64_t>::max();
constexpr const char* kDefaultTokenShare = "0.1";
constexpr const char* kDefaultRandomSamples = "100";
constexpr int64_t kDefaultRandomTraining = 1000;
/// Random samples from here on are for validation, whatever the number of training samples.
constexpr int64_t kFirstRandomValidation = int64_t{1} << 48;

TextTokenizer tokenizer_of(const DataOptions& options) {
  return {options.tokenizer, options.tokenize_command, options.cache.value_or("")};
}

/// data.kind says what data.path is; what validation uses may be either.
bool is_text(const std::string& path, const DataOptions& options) {
  if (options.kind == DataOptions::Kind::kTokens && path == options.path) return false;
  return !std::filesystem::is_directory(path) && !TokenShard::is_shard(path);
}

std::string validation_text(const DataOptions& options) {
  return options.validation.value_or(kDefaultTokenShare);
}

/// The files that are read as tokens.
std::vector<std::string> token_files(const DataOptions& options, DataUse use) {
  std::vector<std::string> files;
  const bool own_validation = names_a_file(validation_text(options));
  if (own_validation) files.push_back(validation_text(options));
  if (use == DataUse::kTrainAndEvaluate || !own_validation) files.push_back(options.path);
  return files;
}

std::vector<TokenRange> open_token_file(const std::string& path, const DataOptions& options) {
  if (!is_text(path, options)) return open_tokens(path);
  return open_tokens(
      tokens_path(path, tokenizer_of(options)),
      fmt::format("it is only a cache of {}: delete it, and it is made again", path));
}

TokenWindow evaluation_window(const DataOptions& data, const EvaluateOptions& evaluate) {
  const int64_t length = evaluate.window.value_or(data.sequence_length);
  TokenWindow window = evaluate.score == EvaluateOptions::Score::kSecondHalf
                           ? TokenWindow::second_half(length)
                           : TokenWindow::all(length);
  window.bos_token = evaluate.bos_token.value_or(-1);
  return window;
}

/// Takes validation's tokens off the end of the training tokens.
std::vector<TokenRange> hold_out(std::vector<TokenRange>& ranges, const DataOptions& options) {
  const std::string text = validation_text(options);
  const int64_t tokens = count_tokens(ranges);
  const int64_t samples = samples_held_out(text, tokens / options.sequence_length);
  return take_from_end(ranges, samples * options.sequence_length);
}

DataSource open_sequences(const DataOptions& options, const EvaluateOptions& evaluate,
                          DataUse use) {
  std::vector<TokenRange> train, validation;
  const bool own_validation = names_a_file(validation_text(options));
  if (use == DataUse::kTrainAndEvaluate || !own_validation) {
    train = open_token_file(options.path, options);
  }
  validation = own_validation ? open_token_file(validation_text(options), options)
                              : hold_out(train, options);
  DataSource source;
  if (use == DataUse::kTrainAndEvaluate) {
    source.train =
        std::make_unique<TokenDataset>(std::move(train), TokenWindow::all(options.sequence_length),
                                       options.samples.value_or(kAll));
  }
  if (!validation.empty()) {
    source.validation =
        std::make_unique<TokenDataset>(std::move(validation), evaluation_window(options, evaluate),
                                       evaluate.samples.value_or(kAll));
  }
  if (source.train && source.validation &&
      source.train->shape().classes != source.validation->shape().classes) {
    throw Error(ErrorCode::kConfig,
                fmt::format("data.validation: expected the vocabulary of data.path ({}), got {}",
                            source.train->shape().classes, source.validation->shape().classes));
  }
  return source;
}

DataSource open_rows(const DataOptions& options, const EvaluateOptions& evaluate) {
  RowDatasets rows = read_rows(options, evaluate.samples.value_or(kAll));
  DataSource source;
  source.train = std::make_unique<RowDataset>(std::move(rows.train));
  if (rows.validation.size() > 0) {
    source.validation = std::make_unique<RowDataset>(std::move(rows.validation));
  }
  return source;
}

DataSource open_random(const DataOptions& options, const EvaluateOptions& evaluate) {
  const auto targets = options.resolved_targets() == DataOptions::Targets::kUniform
                           ? RandomDataset::Targets::kUniform
                           : RandomDataset::Targets::kBinary;
  const int64_t samples = options.samples.value_or(kDefaultRandomTraining);
  const int64_t held_out =
      std::min(samples_meant(options.validation.value_or(kDefaultRandomSamples), samples),
               evaluate.samples.value_or(kAll));
  DataSource source;
  source.train = std::make_unique<RandomDataset>(options.seed, 0, samples, options.inputs, targets);
  if (held_out > 0) {
    source.validation = std::make_unique<RandomDataset>(options.seed, kFirstRandomValidation,
                                                        held_out, options.inputs, targets);
  }
  return source;
}

}  // namespace

void prepare_data(const DataOptions& options, DataUse use) {
  if (!options.has_sequences()) return;
  for (const std::string& file : token_files(options, use)) {
    if (is_text(file, options)) prepare_tokens(file, tokenizer_of(options));
  }
}

DataSource open_data(const DataOptions& options, const EvaluateOptions& evaluate, DataUse use) {
  if (options.has_sequences()) return open_sequences(options, evaluate, use);
  DataSource source = options.kind == DataOptions::Kind::kRandom ? open_random(options, evaluate)
                                                                 : open_rows(options, evaluate);
  if (use == DataUse::kEvaluate) source.train.reset();
  return source;
}

}  // namespace wattle
