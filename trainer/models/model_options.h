#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "common/config/schema.h"

namespace wattle {

enum class ModelFamily { kFromFile, kGpt2, kLlama, kMlp, kResnet, kVgg };
enum class ModelLoss { kAuto, kBce, kMse, kCrossEntropy };

/// Section `model`. A key that does not belong to the family is an error.
struct ModelOptions {
  ModelFamily family = ModelFamily::kFromFile;
  std::optional<std::string> init_from;

  int64_t layers = 6;
  int64_t width = 384;
  int64_t heads = 6;
  std::optional<int64_t> kv_heads;
  std::optional<int64_t> ffn_width;
  int64_t vocab = 256;
  std::optional<int64_t> positions;
  bool tied_embeddings = true;
  double norm_eps = 1e-5;
  double rope_theta = 10000;

  std::optional<int64_t> inputs;
  std::vector<int64_t> hidden;
  std::vector<int64_t> channels = {16, 32, 64};
  int64_t blocks = 1;
  std::optional<int64_t> outputs;
  ModelLoss loss = ModelLoss::kAuto;
  double dropout = 0;

  void describe(Fields& f);

  // The keys with their derived defaults.
  int64_t resolved_kv_heads() const { return kv_heads.value_or(heads); }
  int64_t resolved_ffn_width() const;
  int64_t resolved_positions() const { return positions.value_or(1024); }
  int64_t resolved_inputs() const { return inputs.value_or(1); }
  int64_t resolved_outputs() const;
  /// Never kAuto: by the outputs alone, which say nothing of data.targets.
  ModelLoss resolved_loss() const;
  int64_t head_width() const { return width / heads; }
  bool is_language_model() const {
    return family == ModelFamily::kGpt2 || family == ModelFamily::kLlama;
  }
};

// Their names in the YAML: "gpt2", ..., "bce", ...
const char* name_of(ModelFamily family);
const char* name_of(ModelLoss loss);

}  // namespace wattle
