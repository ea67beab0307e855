#include "launch/train/config/model_fits_data.h"

#include <c10/util/accumulate.h>
#include <fmt/format.h>

#include <algorithm>
#include <bit>

#include "common/error.h"

namespace wattle {
namespace {

void require(bool holds, const std::string& message) {
  if (!holds) throw Error(ErrorCode::kConfig, message);
}

/// Bytes would pass as tokens of a larger vocabulary, and mean nothing to the model.
bool reads_bytes_of_tokens(const ModelOptions& model, const RunConfig& config) {
  const bool is_bytes =
      config.data.kind == DataOptions::Kind::kText && config.data.tokenizer == "bytes";
  return is_bytes && config.model.init_from && model.vocab > 256;
}

/// VGG's pools halve an image after each stage (a resnet's strides leave at least one pixel).
void check_stages(const ModelOptions& model, const SampleShape& sample) {
  const int64_t height = sample.inputs[1], width = sample.inputs[2];
  const int64_t most = std::bit_width(static_cast<uint64_t>(std::min(height, width))) - 1;
  const int64_t stages = static_cast<int64_t>(model.channels.size());
  require(stages <= most,
          fmt::format("model.channels: {} stages, but an image of {} x {} can be halved only {} "
                      "times",
                      stages, height, width, most));
}

void check_inputs(const ModelOptions& model, const SampleShape& sample) {
  const bool is_image = sample.kind == SampleShape::Kind::kImage;
  const bool by_features = model.family == ModelFamily::kMlp;
  require(is_image || by_features,
          fmt::format("data.kind: a model of family {} learns from images", name_of(model.family)));
  const int64_t got = by_features ? c10::multiply_integers(sample.inputs) : sample.inputs.front();
  require(got == model.resolved_inputs(),
          fmt::format("model.inputs: {}, but a sample of the data has {}", model.resolved_inputs(),
                      got));
  if (model.family == ModelFamily::kVgg) check_stages(model, sample);
}

/// Cross-entropies of targets beyond [0, 1] have no least value.
std::string wrong_loss_for_numbers(const ModelOptions& model) {
  const ModelLoss loss = model.resolved_loss();
  if (loss == ModelLoss::kMse) return "";
  return fmt::format("{}, but the data's targets are any numbers (data.targets); expected mse",
                     name_of(loss));
}

void check_targets(const ModelOptions& model, const SampleShape& sample) {
  const int64_t outputs = model.resolved_outputs();
  if (sample.classes == 0) {
    require(outputs == 1, fmt::format("model.outputs: {}, but the data's targets are one number a "
                                      "sample (data.targets: classes makes them classes)",
                                      outputs));
    const std::string wrong = sample.any_number ? wrong_loss_for_numbers(model) : "";
    require(wrong.empty(), "model.loss: " + wrong);
    return;
  }
  require(model.loss != ModelLoss::kMse,
          "model.loss: mse, but the data's targets are classes (data.targets)");
  require(sample.classes <= outputs,
          fmt::format("model.outputs: {}, but the data's targets are of {} classes", outputs,
                      sample.classes));
}

}  // namespace

std::vector<Misfit> misfits(const ModelOptions& model, const RunConfig& config) {
  std::vector<Misfit> found;
  const auto require = [&found](bool holds, const char* key, const std::string& message) {
    if (!holds) found.push_back({key, message});
  };
  const bool is_text = model.is_language_model();
  const DataOptions& data = config.data;
  if (is_text != data.has_sequences()) {
    return {{"data.kind", fmt::format("a model of family {} learns from {}", name_of(model.family),
                                      is_text ? "tokens or text" : "digits, csv or random")}};
  }
  if (!is_text) {
    const bool is_row =
        model.family == ModelFamily::kMlp && data.kind == DataOptions::Kind::kRandom;
    require(!is_row || model.inputs == data.inputs, "model.inputs",
            fmt::format("{}, but a random sample has {} (data.inputs)", model.resolved_inputs(),
                        data.inputs));
    const bool any_number = data.resolved_targets() == DataOptions::Targets::kNumbers;
    const std::string wrong = wrong_loss_for_numbers(model);
    require(!any_number || model.loss == ModelLoss::kAuto || wrong.empty(), "model.loss", wrong);
    return found;
  }
  const auto fits = [&](const char* key, int64_t length) {
    require(length <= model.resolved_positions(), key,
            fmt::format("{} tokens are more than the model's {} positions", length,
                        model.resolved_positions()));
  };
  fits("data.sequence_length", data.sequence_length);
  fits("evaluate.window", config.evaluate.window.value_or(1));
  const int64_t bos = config.evaluate.bos_token.value_or(0);
  require(bos < model.vocab, "evaluate.bos_token",
          fmt::format("{} is beyond the model's vocabulary of {} tokens", bos, model.vocab));
  require(!reads_bytes_of_tokens(model, config), "data.tokenizer",
          fmt::format("bytes, but {} has a vocabulary of {} tokens; name the file that holds its "
                      "tokenizer",
                      config.model.init_from.value_or(""), model.vocab));
  return found;
}

void check_model_takes(const ModelOptions& model, const RunConfig& config) {
  std::string lines;
  for (const Misfit& misfit : misfits(model, config)) {
    lines += fmt::format("{}{}: {}", lines.empty() ? "" : "\n", misfit.key, misfit.message);
  }
  require(lines.empty(), lines);
}

void check_model_takes(const ModelOptions& model, const SampleShape& sample) {
  if (sample.kind == SampleShape::Kind::kTokens) {
    require(sample.classes <= model.vocab,
            fmt::format("model.vocab: {}, but the data's tokens are of a vocabulary of {}",
                        model.vocab, sample.classes));
    return;
  }
  check_inputs(model, sample);
  check_targets(model, sample);
}

}  // namespace wattle
