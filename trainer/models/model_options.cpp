#include "trainer/models/model_options.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "common/config/config_file.h"
#include "common/error.h"

namespace wattle {
namespace {

using enum ModelFamily;

const std::vector<std::pair<std::string, ModelFamily>>& families() {
  static const std::vector<std::pair<std::string, ModelFamily>> names = {
      {"from_file", kFromFile}, {"gpt2", kGpt2}, {"llama", kLlama}, {"mlp", kMlp},
      {"resnet", kResnet},      {"vgg", kVgg}};
  return names;
}

const std::vector<std::pair<std::string, ModelLoss>>& losses() {
  static const std::vector<std::pair<std::string, ModelLoss>> names = {
      {"auto", ModelLoss::kAuto},
      {"bce", ModelLoss::kBce},
      {"mse", ModelLoss::kMse},
      {"cross_entropy", ModelLoss::kCrossEntropy}};
  return names;
}

/// The families that a key belongs to; keys that are not here belong to all.
struct KeyFamilies {
  const char* key;
  std::vector<ModelFamily> families;
};

const std::vector<KeyFamilies>& keys_of_families() {
  static const std::vector<KeyFamilies> keys = {
      {"layers", {kGpt2, kLlama}},
      {"width", {kGpt2, kLlama}},
      {"heads", {kGpt2, kLlama}},
      {"kv_heads", {kLlama}},
      {"ffn_width", {kGpt2, kLlama}},
      {"vocab", {kGpt2, kLlama}},
      {"positions", {kGpt2, kLlama}},
      {"tied_embeddings", {kGpt2, kLlama}},
      {"norm_eps", {kGpt2, kLlama, kResnet, kVgg}},
      {"rope_theta", {kLlama}},
      {"inputs", {kMlp, kResnet, kVgg}},
      {"hidden", {kMlp, kVgg}},
      {"channels", {kResnet, kVgg}},
      {"blocks", {kResnet, kVgg}},
      {"outputs", {kMlp, kResnet, kVgg}},
      {"loss", {kMlp}},
      {"dropout", {kGpt2, kMlp, kVgg}},
  };
  return keys;
}

/// Widths and counts beyond this are no model's; within it, no product of two overflows.
constexpr int64_t kLargestSize = int64_t{1} << 31;
constexpr int64_t kMostLayers = 1 << 16;

bool is_size(int64_t value) { return value >= 1 && value <= kLargestSize; }

void check_families(const Checker& given, Checker& c, ModelFamily family) {
  for (const auto& [key, owners] : keys_of_families()) {
    if (!given.given(key)) continue;
    std::vector<std::string> names;
    for (const ModelFamily owner : owners) names.emplace_back(name_of(owner));
    const bool belongs = std::find(owners.begin(), owners.end(), family) != owners.end();
    c.require(belongs, key,
              family == kFromFile
                  ? std::string("the shape comes from the file that init_from names")
                  : fmt::format("applies to families {}, not to {}", fmt::join(names, ", "),
                                name_of(family)));
  }
}

/// The keys of models of tokens.
void describe_tokens(ModelOptions& o, Fields& f) {
  f("layers", o.layers, "transformer blocks").at_least(1).at_most(kMostLayers);
  f("width", o.width, "elements of the residual stream").at_least(1).at_most(kLargestSize);
  f("heads", o.heads, "attention heads").at_least(1).at_most(kLargestSize);
  f("kv_heads", o.kv_heads, "key-value heads, each serving heads / kv_heads query heads")
      .at_least(1)
      .at_most(kLargestSize)
      .default_is("heads");
  f("ffn_width", o.ffn_width, "hidden neurons of a feed-forward layer")
      .at_least(1)
      .at_most(kLargestSize)
      .default_is("4 x width (gpt2), 8/3 x width rounded up to 32 (llama)");
  f("vocab", o.vocab, "tokens").at_least(2).at_most(kLargestSize);
  f("positions", o.positions, "longest sequence")
      .at_least(1)
      .at_most(kLargestSize)
      .default_is("1024");
  f("tied_embeddings", o.tied_embeddings, "the output layer shares the token embedding's weight");
  f("norm_eps", o.norm_eps, "added to variances in norms").greater_than(0);
  f("rope_theta", o.rope_theta, "base of the rotary positions' wavelengths").greater_than(1);
}

void check_shape(const ModelOptions& o, Checker& c) {
  c.require(o.family != kFromFile || o.init_from.has_value(), "family",
            "is required unless init_from names a file that says it");
  check_families(c, c, o.family);
  c.require(o.width % o.heads == 0, "heads",
            fmt::format("{} heads do not divide width {}", o.heads, o.width));
  const int64_t kv = o.resolved_kv_heads();
  c.require(o.heads % kv == 0, "kv_heads",
            fmt::format("{} kv_heads do not divide {} heads", kv, o.heads));
  c.require(o.family != kLlama || o.head_width() % 2 == 0, "width",
            fmt::format("a head of {} elements cannot be rotated: width / heads must be even",
                        o.head_width()));
  c.require(o.family != kMlp || o.inputs.has_value(), "inputs", "is required for an mlp");
  c.require(std::ranges::all_of(o.hidden, is_size), "hidden",
            fmt::format("every layer needs 1 to {} neurons", kLargestSize));
  c.require(!o.channels.empty() && std::ranges::all_of(o.channels, is_size), "channels",
            fmt::format("needs at least one stage, each of 1 to {} filters", kLargestSize));
  c.require(o.loss != ModelLoss::kBce || o.resolved_outputs() == 1, "loss", "bce needs outputs: 1");
  c.require(o.loss != ModelLoss::kCrossEntropy || o.resolved_outputs() > 1, "loss",
            "cross_entropy needs outputs of at least 2");
}

}  // namespace

const char* name_of(ModelFamily family) {
  for (const auto& [name, value] : families()) {
    if (value == family) return name.c_str();
  }
  throw Error(ErrorCode::kInternal, "unknown model family");
}

const char* name_of(ModelLoss loss) {
  for (const auto& [name, value] : losses()) {
    if (value == loss) return name.c_str();
  }
  throw Error(ErrorCode::kInternal, "unknown loss");
}

int64_t ModelOptions::resolved_ffn_width() const {
  if (ffn_width) return *ffn_width;
  return family == kLlama ? (width * 8 / 3 + 31) / 32 * 32 : 4 * width;
}

int64_t ModelOptions::resolved_outputs() const { return outputs.value_or(family == kMlp ? 1 : 10); }

ModelLoss ModelOptions::resolved_loss() const {
  if (loss != ModelLoss::kAuto) return loss;
  return resolved_outputs() == 1 ? ModelLoss::kBce : ModelLoss::kCrossEntropy;
}

void ModelOptions::describe(Fields& f) {
  f.choice("family", family, families(), "what kind of model");
  f("init_from", init_from,
    "model to start from: a GGUF file, a folder with safetensors, a checkpoint; its shape too")
      .type = kInputPath;
  describe_tokens(*this, f);
  f("inputs", inputs, "features of a row (mlp), channels of an image (resnet, vgg)")
      .at_least(1)
      .at_most(kLargestSize)
      .default_is("1 (resnet, vgg)");
  f("hidden", hidden, "neurons of each hidden dense layer");
  f("channels", channels, "filters of each stage; the image is halved between stages");
  f("blocks", blocks, "residual blocks (resnet) or convolutions (vgg) of each stage")
      .at_least(1)
      .at_most(kMostLayers);
  f("outputs", outputs, "values or classes")
      .at_least(1)
      .at_most(kLargestSize)
      .default_is("1 (mlp), 10 (resnet, vgg)");
  f.choice("loss", loss, losses(),
           "what is minimised; auto: mse where data.targets are numbers, else bce for one output, "
           "cross_entropy for more");
  f("dropout", dropout, "share of elements dropped while training").at_least(0).less_than(1);
  f.check([this](Checker& c) { check_shape(*this, c); });
}

}  // namespace wattle
