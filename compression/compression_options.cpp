#include "compression/compression_options.h"

#include <fmt/format.h>

#include "common/error.h"

namespace wattle {
namespace {

const std::vector<std::pair<std::string, WeightTargetType>>& target_names() {
  static const std::vector<std::pair<std::string, WeightTargetType>> names = {
      {"gguf:q4_0", WeightTargetType::kGgufQ4_0},
      {"gguf:q4_1", WeightTargetType::kGgufQ4_1},
      {"gguf:q8_0", WeightTargetType::kGgufQ8_0}};
  return names;
}

/// A key that stands for something to come, so that a file that has it gets a clear answer.
void refuse(Fields& f, const std::string& key, const std::string& what) {
  std::string unused;
  Field& field = f(key, unused, what + ": not in this version, and refused");
  field.type = "section";
  field.default_text.clear();
  field.read = [what](const YAML::Node&) { return what + " is not in this version"; };
  field.present = [] { return false; };
}

}  // namespace

bool QuantizeOptions::is_gguf() const { return format_name(*this).starts_with("gguf:"); }

EmbeddingFormat QuantizeOptions::resolved_embeddings() const {
  if (embeddings != EmbeddingFormat::kAuto) return embeddings;
  return is_gguf() ? EmbeddingFormat::kMixed : EmbeddingFormat::kFloat;
}

void QuantizeOptions::describe(Fields& f) {
  f.choice("target", target, target_names(),
           "the format that weights are rounded to, bit for bit as the exported file holds them")
      .required();
  f("targets", targets,
    "which weights: names, parts of the model (blocks.0.attention), or re: and a regular "
    "expression for the whole name; none means all that multiply activations");
  f.choice("embeddings", embeddings,
           {{"auto", EmbeddingFormat::kAuto},
            {"mixed", EmbeddingFormat::kMixed},
            {"target", EmbeddingFormat::kTarget},
            {"float", EmbeddingFormat::kFloat}},
           "token embedding and output layer of a language model: mixed gives the output layer (or "
           "the embedding that it is tied to) the larger type that llama-quantize gives it; target "
           "treats them as the others (llama-quantize --pure); float leaves them out; auto is "
           "mixed for gguf and float otherwise");
  f("begin_step", begin_step, "steps done before weights are rounded").at_least(0).unit("steps");
  f("end_step", end_step, "steps done when rounding ends again; absent: never")
      .at_least(1)
      .unit("steps");
  f("clip_gradients", clip_gradients,
    "a value beyond the ends of its grid gets no gradient; otherwise gradients pass straight "
    "through");
  f.check([this](Checker& c) {
    c.require(!end_step || *end_step > begin_step, "end_step",
              fmt::format("{} is not after begin_step {}", end_step.value_or(0), begin_step));
    c.require(is_gguf() || embeddings != EmbeddingFormat::kMixed, "embeddings",
              "mixed is llama-quantize's way and needs a gguf target");
  });
}

void CompressionEntry::describe(Fields& f) {
  f("quantize", quantize, "quantisation-aware training of weights");
  refuse(f, "distil", "distillation");
  refuse(f, "prune", "pruning");
}

void check_compression(const std::vector<CompressionEntry>& entries, Precision precision,
                       Checker& c) {
  for (size_t i = 0; i < entries.size(); ++i) {
    c.require(entries[i].quantize.has_value(), fmt::format("compression.{}", i),
              "is empty; expected quantize");
    c.require(!entries[i].quantize || precision == Precision::kFp32, quantize_name(i),
              "needs train.precision: fp32; any other rounds the weights once more, so that the "
              "file would not hold those that training saw");
  }
}

std::string quantize_name(size_t index) { return fmt::format("compression.{}.quantize", index); }

std::string format_name(const QuantizeOptions& options) {
  for (const auto& [name, type] : target_names()) {
    if (type == options.target) return name;
  }
  throw Error(ErrorCode::kInternal, "unknown target of quantisation");
}

}  // namespace wattle
