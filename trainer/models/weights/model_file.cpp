#include "trainer/models/weights/model_file.h"

#include <ATen/ops/empty.h>
#include <c10/core/GradMode.h>
#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <map>
#include <optional>
#include <set>

#include "common/error.h"
#include "formats/gguf/ggml_blocks.h"
#include "formats/gguf/gguf.h"
#include "formats/safetensors/safetensors.h"
#include "trainer/models/weights/file_options.h"
#include "trainer/models/weights/layout.h"
#include "trainer/models/weights/recipe.h"

namespace wattle {

struct ModelFile::Content {
  std::string path;
  std::optional<GgufFile> gguf;
  std::optional<SafetensorsModel> safetensors;

  const TensorTable& tensors() const { return gguf ? gguf->tensors() : safetensors->tensors(); }
  std::string config_path() const { return std::filesystem::path(path) / "config.json"; }
  std::vector<Recipe> recipes(const ModelOptions& options) const;
};

namespace {

constexpr const char* kTransformer = "transformer.";

std::span<float> values_of(at::Tensor& tensor) {
  return {tensor.data_ptr<float>(), static_cast<size_t>(tensor.numel())};
}

/// Tensors that files carry and that are no weights: GPT-2's causal masks, rotary frequencies that
/// follow from the base.
bool is_derived(std::string_view name) {
  return name.ends_with(".attn.bias") || name.ends_with(".attn.masked_bias") ||
         name.ends_with(".rotary_emb.inv_freq");
}

/// Weights that a model of this shape has at least: embeddings, and of each block the matrices that
/// both families have. A double, because hostile sizes overflow.
double least_weights(const ModelOptions& o) {
  const auto width = static_cast<double>(o.width);
  const auto ffn_width = static_cast<double>(o.resolved_ffn_width());
  double rows = static_cast<double>(o.vocab);
  if (o.family == ModelFamily::kGpt2) rows += static_cast<double>(o.resolved_positions());
  return width * (rows + static_cast<double>(o.layers) * 2 * (width + ffn_width));
}

/// Sizes that the file is far from holding end here, before memory is asked for; a smaller
/// difference is named tensor by tensor when they are read.
void check_announced(const ModelOptions& options, const TensorTable& tensors,
                     const std::string& where) {
  double held = 0;
  for (const TensorView& tensor : tensors.all()) {
    held += static_cast<double>(element_count(tensor.shape).value_or(0));
  }
  if (least_weights(options) <= 2 * held) return;
  throw Error(ErrorCode::kFormat,
              fmt::format("{}: announces a model of at least {:.0f} weights, but its tensors hold "
                          "only {:.0f}",
                          where, least_weights(options), held));
}

/// Fills one parameter from a file.
class Loader {
 public:
  Loader(const std::string& path, const TensorTable& tensors) : path_(path), tensors_(tensors) {}

  void fill(const Recipe& recipe, Parameter& parameter) {
    const at::Tensor& target = parameter.value();
    const std::vector<int64_t> row_shape = target.sizes().slice(1).vec();
    at::Tensor loaded = at::empty(target.sizes(), at::kFloat);
    int64_t row = 0;
    for (const Piece& piece : recipe.pieces) {
      if (row + piece.rows > target.size(0)) break;
      at::Tensor rows = loaded.narrow(0, row, piece.rows);
      read(piece, row_shape, values_of(rows));
      row += piece.rows;
    }
    if (row != target.size(0)) {
      throw Error(ErrorCode::kInternal, fmt::format("parameter {} has {} rows, its recipe other",
                                                    recipe.parameter, target.size(0)));
    }
    const c10::AutoGradMode no_grad(false);
    target.copy_(loaded);
  }

  /// Every tensor must have been used, or be one that follows from the others.
  void require_all_used(bool tied, const std::string& head, const std::string& embedding) const {
    for (const TensorView& tensor : tensors_.all()) {
      if (used_.count(tensor.name) || is_derived(tensor.name)) continue;
      if (tied && tensor.name == head && same(tensor, embedding)) continue;
      throw Error(ErrorCode::kUnsupported,
                  fmt::format("{}: the model has no place for tensor {} {}", path_, tensor.name,
                              shape_text(tensor.shape)));
    }
  }

 private:
  void read(const Piece& piece, std::span<const int64_t> row_shape, std::span<float> target) {
    const TensorView* tensor = tensors_.find(piece.tensor);
    const std::vector<int64_t> expected = file_shape(piece, row_shape);
    if (tensor == nullptr || tensor->shape != expected) {
      throw Error(
          ErrorCode::kFormat,
          fmt::format(
              "{}: expected tensor {} {}, {}", path_, piece.tensor, shape_text(expected),
              tensor == nullptr ? "it is missing" : "its shape is " + shape_text(tensor->shape)));
    }
    used_.insert(tensor->name);
    const int64_t columns = piece.rows == 0 ? 0 : static_cast<int64_t>(target.size()) / piece.rows;
    try {
      if (piece.layout == Layout::kSame) return decode(tensor->dtype, tensor->bytes, target);
      std::vector<float> decoded(target.size());
      decode(tensor->dtype, tensor->bytes, decoded);
      from_file_layout(piece, columns, decoded, target);
    } catch (const Error& error) {
      throw Error(error.code(),
                  fmt::format("{}: tensor {}: {}", path_, tensor->name, error.what()));
    }
  }

  bool same(const TensorView& tensor, const std::string& other) const {
    const TensorView* twin = tensors_.find(other);
    return twin != nullptr && twin->dtype == tensor.dtype && twin->shape == tensor.shape &&
           std::equal(tensor.bytes.begin(), tensor.bytes.end(), twin->bytes.begin());
  }

  const std::string& path_;
  const TensorTable& tensors_;
  std::set<std::string, std::less<>> used_;
};

}  // namespace

std::vector<Recipe> ModelFile::Content::recipes(const ModelOptions& options) const {
  std::vector<Recipe> recipes = recipes_of(options, gguf ? Naming::kGguf : Naming::kHuggingFace);
  // The first GPT-2 files were saved without the head, and without the prefix.
  if (!gguf && tensors().find("wte.weight") != nullptr) {
    for (Recipe& recipe : recipes) {
      for (Piece& piece : recipe.pieces) {
        if (piece.tensor.starts_with(kTransformer)) {
          piece.tensor.erase(0, std::strlen(kTransformer));
        };
      }
    }
  }
  return recipes;
}

ModelFile::ModelFile(const std::string& path) : content_(std::make_unique<Content>()) {
  content_->path = path;
  if (path.ends_with(".gguf")) {
    content_->gguf.emplace(path);
  } else {
    content_->safetensors.emplace(path);
  }
}

ModelFile::~ModelFile() = default;

ModelOptions ModelFile::options(const ModelOptions& base) const {
  ModelOptions options = content_->gguf ? options_from_gguf(*content_->gguf, base)
                                        : options_from_config_json(content_->config_path(), base);
  // Each block has several tensors, so that a hostile count ends here.
  if (options.layers > static_cast<int64_t>(content_->tensors().size())) {
    throw Error(ErrorCode::kFormat,
                fmt::format("{}: {} blocks announced, but only {} tensors are there",
                            content_->path, options.layers, content_->tensors().size()));
  }
  check_announced(options, content_->tensors(),
                  content_->gguf ? content_->path : content_->config_path());
  return options;
}

void ModelFile::load(const ModelOptions& options, std::span<Parameter* const> parameters) const {
  std::map<std::string, Parameter*> by_name;
  for (Parameter* parameter : parameters) by_name.emplace(parameter->name(), parameter);
  Loader loader(content_->path, content_->tensors());
  const std::vector<Recipe> recipes = content_->recipes(options);
  for (const Recipe& recipe : recipes) {
    const auto found = by_name.find(recipe.parameter);
    if (found == by_name.end()) {
      throw Error(ErrorCode::kInternal, "the model lacks the parameter " + recipe.parameter);
    }
    loader.fill(recipe, *found->second);
    by_name.erase(found);
  }
  if (!by_name.empty()) {
    throw Error(ErrorCode::kInternal, "no file has the parameter " + by_name.begin()->first);
  }
  const bool gguf = content_->gguf.has_value();
  loader.require_all_used(options.tied_embeddings, gguf ? "output.weight" : "lm_head.weight",
                          recipes.front().pieces.front().tensor);
}

}  // namespace wattle
