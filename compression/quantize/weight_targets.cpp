#include "compression/quantize/weight_targets.h"

#include <fmt/format.h>

#include <algorithm>

#include "common/error.h"
#include "compression/quantize/target_patterns.h"

namespace wattle {
namespace {

constexpr int64_t kSuperBlock = 256;  ///< of the K types
constexpr const char* kLargerType = "gguf:q6_k";
constexpr const char* kTernaryType = "gguf:tq2_0";
constexpr const char* kLargestType = "gguf:q8_0";

/// What of a language model lies outside of its blocks.
struct Ends {
  const Parameter* embedding = nullptr;
  const Parameter* output = nullptr;  ///< the embedding too, where they are tied
};

Ends ends_of(const Model& model) {
  Ends ends;
  for (const Weight& weight : model.weights) {
    if (weight.weight->kind() == LayerKind::kEmbedding) ends.embedding = weight.weight;
  }
  if (ends.embedding == nullptr) return ends;
  ends.output = ends.embedding;
  for (const Weight& weight : model.weights) {
    if (weight.weight->kind() == LayerKind::kHead) ends.output = weight.weight;
  }
  return ends;
}

const Weight& weight_named(const Model& model, const std::string& name) {
  const auto found = std::ranges::find_if(
      model.weights, [&](const Weight& weight) { return weight.weight->name() == name; });
  return *found;
}

bool is_end(const Ends& ends, const Parameter* parameter) {
  return parameter == ends.embedding || parameter == ends.output;
}

/// Embedding and output layer stay in float: a pattern that asks for one of them by name, or for
/// nothing else, is not followed.
void check_ends_are_not_asked_for(const QuantizeOptions& options, const Model& model,
                                  const std::vector<std::string>& names, const std::string& key) {
  const Ends ends = ends_of(model);
  for (const std::string& pattern : options.targets) {
    std::string left_out;
    bool others = false;
    for (const std::string& name : matching_names({pattern}, names, key + ".targets")) {
      const bool end = is_end(ends, weight_named(model, name).weight);
      if (end && left_out.empty()) left_out = name;
      others |= !end;
    }
    if (left_out.empty() || (others && is_expression(pattern))) continue;
    throw Error(
        ErrorCode::kConfig,
        fmt::format("{}.targets: '{}' chooses {}, which embeddings leaves in float; expected "
                    "embeddings: target",
                    key, pattern, left_out));
  }
}

/// llama-quantize gives the embedding of a ternary model, where it is not the output layer too, a
/// type that nothing here trains for.
void check_mixed(const WeightFormat& format, const Ends& ends, const std::string& key) {
  if (format.name() != kTernaryType || ends.embedding == ends.output) return;
  throw Error(ErrorCode::kConfig,
              fmt::format("{}.embeddings: mixed would give {} the type Q4_K, which is no target; "
                          "expected embeddings: target or float",
                          key, ends.embedding->name()));
}

}  // namespace

std::shared_ptr<const WeightFormat> mixed_output_format(const WeightFormat& format,
                                                        int64_t columns) {
  const bool larger = format.name() != kLargestType && columns % kSuperBlock == 0;
  return make_weight_format(larger ? kLargerType : kLargestType);
}

std::vector<WeightTarget> weight_targets(const QuantizeOptions& options, const Model& model,
                                         const std::string& key, const WeightShards& shards) {
  std::vector<std::string> names;
  for (const Weight& weight : model.weights) names.push_back(weight.weight->name());
  const std::shared_ptr<const WeightFormat> format = make_weight_format(format_name(options));
  const Ends ends = ends_of(model);
  if (options.resolved_embeddings() == EmbeddingFormat::kFloat) {
    check_ends_are_not_asked_for(options, model, names, key);
  }
  if (options.resolved_embeddings() == EmbeddingFormat::kMixed) check_mixed(*format, ends, key);
  std::vector<WeightTarget> targets;
  for (const std::string& name : matching_names(options.targets, names, key + ".targets")) {
    const Weight& weight = weight_named(model, name);
    const Parameter& parameter = *weight.weight;
    const EmbeddingFormat wanted = options.resolved_embeddings();
    if (is_end(ends, &parameter) && wanted == EmbeddingFormat::kFloat) continue;
    const bool larger = &parameter == ends.output && wanted == EmbeddingFormat::kMixed;
    const auto shard = shards.find(name);
    const bool split = shard != shards.end();
    const at::IntArrayRef part = parameter.value().sizes();
    const std::vector<int64_t> shape = split ? whole_shape(part, shard->second) : part.vec();
    WeightTarget target{name, larger ? mixed_output_format(*format, shape.at(1)) : format};
    if (split) target.shard = shard->second;
    if (options.weight_ranges) target.observer = options.weight_ranges->observer;
    if (options.fold_batch_norm && !options.is_gguf()) target.norm = weight.norm;
    const std::string refusal = target.format->refusal(shape);
    if (!refusal.empty()) {
      throw Error(ErrorCode::kConfig, fmt::format("{}: {}: {}", key, name, refusal));
    }
    if (split) check_cut(*target.format, fmt::format("{}: {}", key, name), part, shard->second);
    targets.push_back(std::move(target));
  }
  if (targets.empty()) {
    throw Error(ErrorCode::kConfig, key + ".targets: leaves no weight to quantise");
  }
  return targets;
}

}  // namespace wattle
