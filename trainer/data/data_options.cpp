#include "trainer/data/data_options.h"

#include <fmt/format.h>

#include <charconv>
#include <cmath>
#include <filesystem>

#include "common/config/config_file.h"
#include "common/error.h"

namespace wattle {
namespace {

using Kind = DataOptions::Kind;
using Targets = DataOptions::Targets;

std::optional<double> number_in(const std::string& text) {
  double value = 0;
  const char* end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, value);
  if (error != std::errc() || stop != end) return std::nullopt;
  return value;
}

/// More samples than any data has, and few enough to compute with.
constexpr int64_t kMostSamples = int64_t{1} << 48;

bool is_whole(double value) { return std::floor(value) == value; }

void require_file(Checker& c, const std::string& key, const std::string& path, bool folder_too) {
  std::error_code ignored;
  const bool there = std::filesystem::is_regular_file(path, ignored) ||
                     (folder_too && std::filesystem::is_directory(path, ignored));
  c.require(there, key, fmt::format("no such file{}: '{}'", folder_too ? " or folder" : "", path));
}

void check_validation(Checker& c, const DataOptions& data) {
  if (!data.validation) return;
  c.require(!data.folds, "validation", "give either validation or folds, not both");
  if (const std::optional<double> part = number_in(*data.validation)) {
    const bool is_meant = *part >= 0 && *part <= static_cast<double>(kMostSamples);
    c.require(is_meant && (*part < 1 || is_whole(*part)), "validation",
              "expected a file, a share in [0, 1) or a number of samples, got " + *data.validation);
  } else {
    c.require(data.has_sequences(), "validation",
              "a file of its own is for tokens and text; expected a share or a number of samples");
    if (data.has_sequences()) require_file(c, "validation", *data.validation, true);
  }
}

void check_targets(Checker& c, const DataOptions& data) {
  const Targets targets = data.targets;
  if (targets == Targets::kAuto) return;
  const bool for_random = targets == Targets::kBinary || targets == Targets::kUniform;
  const bool for_csv = targets != Targets::kUniform;
  c.require((data.kind == Kind::kRandom && for_random) || (data.kind == Kind::kCsv && for_csv),
            "targets",
            "random data has binary or uniform targets, csv binary, classes or numbers; the other "
            "kinds have only their own");
}

/// A key that the kind of data never reads would be silently without effect.
void check_used(Checker& c, const DataOptions& data) {
  const auto only = [&](bool used, const char* kinds, std::initializer_list<const char*> keys) {
    for (const char* key : keys) {
      c.require(used || !c.given(key), key, fmt::format("is for data of kind {} alone", kinds));
    }
  };
  only(data.has_sequences(), "tokens or text",
       {"sequence_length", "tokenizer", "cache", "tokenize_command"});
  only(data.has_table(), "digits or csv", {"folds", "fold"});
  only(data.kind == Kind::kCsv, "csv", {"header", "target", "standardise"});
  only(data.kind == Kind::kRandom, "random", {"inputs"});
  only(data.kind != Kind::kRandom, "tokens, text, digits or csv", {"path"});
}

void describe_sequences(DataOptions& o, Fields& f) {
  f("sequence_length", o.sequence_length, "tokens a sample; targets are the next tokens")
      .at_least(2)
      .unit("tokens");
  f("tokenizer", o.tokenizer, "bytes, or the path of a GGUF file or a tokenizer.json").type =
      fmt::format("bytes or {}", kInputPath);
  f("cache", o.cache, "folder that keeps texts as tokens").default_is(".tokens beside the text");
  f("tokenize_command", o.tokenize_command,
    "program that tokenises with a tokenizer that is not bytes, and its first arguments")
      .default_is("launch/tokenize_text.py in .deps/tokenizer's Python");
}

void describe_rows(DataOptions& o, Fields& f) {
  f("folds", o.folds, "cut a table into so many parts; evaluate on one, train on the others")
      .at_least(2);
  f("fold", o.fold, "which of the folds evaluates, from 0").at_least(0);
  f("header", o.header, "the table's first line is no row: column names, or counts");
  f("target", o.target,
    "the target's column: a name of the header, or an index, -1 being the last");
  f("standardise", o.standardise, "inputs to mean 0 and deviation 1 over the training samples");
  f.choice("targets", o.targets,
           {{"auto", Targets::kAuto},
            {"binary", Targets::kBinary},
            {"uniform", Targets::kUniform},
            {"classes", Targets::kClasses},
            {"numbers", Targets::kNumbers}},
           "binary: 0 or 1; uniform: in [0, 1); classes: integers from 0; numbers: any; auto: "
           "binary for random and csv, else the kind's own");
  f("inputs", o.inputs, "random data: numbers a sample").at_least(1);
}

void check(const DataOptions& o, Checker& c) {
  if (o.kind != Kind::kRandom) {
    c.require(!o.path.empty(), "path", "is required for this kind of data");
    if (!o.path.empty()) require_file(c, "path", o.path, o.kind == Kind::kTokens);
  }
  if (o.has_sequences() && o.tokenizer != "bytes") {
    require_file(c, "tokenizer", o.tokenizer, false);
    c.require(!o.tokenize_command.empty(), "tokenize_command", "is empty");
  }
  c.require(!c.given("fold") || o.folds, "fold", "needs folds");
  c.require(!o.folds || o.fold < *o.folds, "fold",
            fmt::format("expected less than folds ({}), got {}", o.folds.value_or(0), o.fold));
  check_validation(c, o);
  check_targets(c, o);
  check_used(c, o);
}

}  // namespace

DataOptions::DataOptions()
    : tokenize_command({WATTLE_SOURCE_DIR "/.deps/tokenizer/bin/python",
                        WATTLE_SOURCE_DIR "/launch/tokenize_text.py"}) {}

void DataOptions::describe(Fields& f) {
  f.choice("kind", kind,
           {{"tokens", Kind::kTokens},
            {"text", Kind::kText},
            {"digits", Kind::kDigits},
            {"csv", Kind::kCsv},
            {"random", Kind::kRandom}},
           "tokens: shards of tokens (docs/DATA.md); text: a text file; digits: images of 8 x 8 "
           "from scikit-learn's digits.csv.gz; csv: a table of numbers; random: made up")
      .required();
  f("path", path, "the file; for tokens also a folder of shards").type = kInputPath;
  f("validation", validation,
    "what evaluation uses: a file (tokens, text), a share of the samples (0.1) or a number of "
    "them (100); tokens and text give their end, tables a random part, random data more samples")
      .default_is("0.1; with random data 100; with folds that fold")
      .type = fmt::format("number or {}", kInputPath);
  f("samples", samples, "train on the first so many samples only; with random data: how many")
      .at_least(1)
      .at_most(kMostSamples)
      .unit("samples")
      .default_is("all; with random data 1000");
  f("seed", seed, "of the random split of tables, and of random data; unlike run.seed");
  describe_sequences(*this, f);
  describe_rows(*this, f);
  f.check([this](Checker& c) { check(*this, c); });
}

Targets DataOptions::resolved_targets() const {
  if (targets != Targets::kAuto) return targets;
  return kind == Kind::kRandom || kind == Kind::kCsv ? Targets::kBinary : Targets::kClasses;
}

bool names_a_file(const std::string& validation) { return !number_in(validation); }

int64_t samples_meant(const std::string& validation, int64_t samples) {
  const double number = number_in(validation).value_or(0);
  return number < 1 ? std::llround(number * static_cast<double>(samples)) : std::llround(number);
}

int64_t samples_held_out(const std::string& validation, int64_t samples) {
  const int64_t count = samples_meant(validation, samples);
  if (count >= samples) {
    throw Error(ErrorCode::kConfig,
                fmt::format("data.validation: {} of {} samples leaves none to train on", validation,
                            samples));
  }
  return count;
}

void EvaluateOptions::describe(Fields& f) {
  f("window", window, "tokens a window; windows lie end to end")
      .at_least(4)
      .unit("tokens")
      .default_is("data.sequence_length");
  f.choice("score", score, {{"all", Score::kAll}, {"second_half", Score::kSecondHalf}},
           "which positions count: all, or as llama-perplexity does those of the second half that "
           "predict a token of the same window");
  f("bos_token", bos_token,
    "put over the first token of each window, as llama-perplexity does for models whose "
    "tokenizer.ggml.add_bos_token is true")
      .at_least(0);
  f("batch", batch, "samples a forward pass").at_least(1).default_is("8");
  f("samples", samples, "evaluate on the first so many validation samples only").at_least(1);
  f("masters", masters,
    "wattle-train eval takes a checkpoint's master weights in float, without the quantisation that "
    "is active there");
  f("integers", integers,
    "wattle-train eval computes the outputs of a model that is int8 throughout once more, with "
    "integers alone, and says how often the classes agree; rows and images");
  f("predictions", predictions,
    "wattle-train eval writes inputs and outputs of each validation sample to this CSV file; "
    "rows and images");
}

}  // namespace wattle
