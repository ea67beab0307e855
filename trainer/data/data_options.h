#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "common/config/schema.h"

namespace wattle {

/// The section `data:`.
struct DataOptions {
  enum class Kind { kTokens, kText, kDigits, kCsv, kRandom };
  enum class Targets { kAuto, kBinary, kUniform, kClasses, kNumbers };

  Kind kind = Kind::kText;
  std::string path;
  std::optional<std::string> validation;
  std::optional<int64_t> samples;
  uint64_t seed = 1;
  // tokens and text
  int64_t sequence_length = 256;
  std::string tokenizer = "bytes";
  std::optional<std::string> cache;
  std::vector<std::string> tokenize_command;
  // digits and csv
  std::optional<int64_t> folds;
  int64_t fold = 0;
  bool header = true;
  std::string target = "-1";
  bool standardise = true;
  // rows
  Targets targets = Targets::kAuto;
  // random
  int64_t inputs = 100;

  DataOptions();
  void describe(Fields& f);

  /// `targets`, with auto replaced by what the kind of data has.
  Targets resolved_targets() const;
  bool has_sequences() const { return kind == Kind::kTokens || kind == Kind::kText; }
  bool has_table() const { return kind == Kind::kDigits || kind == Kind::kCsv; }
};

/// How many samples `data.validation` means where it is no file: "0.1" is a share of `samples`,
/// "100" a number.
int64_t samples_meant(const std::string& validation, int64_t samples);

/// The same, to be held out of `samples`: throws Error(kConfig) if that leaves none to train on.
int64_t samples_held_out(const std::string& validation, int64_t samples);

/// Whether the text is a file's name rather than a number.
bool names_a_file(const std::string& validation);

/// The section `evaluate:`.
struct EvaluateOptions {
  enum class Score { kAll, kSecondHalf };

  std::optional<int64_t> window;
  Score score = Score::kAll;
  std::optional<int64_t> bos_token;
  std::optional<int64_t> batch;
  std::optional<int64_t> samples;
  bool masters = false;
  bool integers = false;
  std::optional<std::string> predictions;
  void describe(Fields& f);
};

}  // namespace wattle
