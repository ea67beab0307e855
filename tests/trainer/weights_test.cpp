#include <ATen/ops/equal.h>
#include <ATen/ops/randn.h>
#include <gmock/gmock.h>

#include <memory>

#include "common/error.h"
#include "formats/gguf/ggml_blocks.h"
#include "formats/gguf/gguf.h"
#include "formats/safetensors/safetensors.h"
#include "tests/support/scratch_folder.h"
#include "trainer/models/weights/file_options.h"
#include "trainer/models/weights/model_file.h"
#include "trainer/models/weights/recipe.h"

namespace wattle {
namespace {

using testing::HasSubstr;

ModelOptions tiny(ModelFamily family, bool tied) {
  ModelOptions o;
  o.family = family;
  o.layers = 2;
  o.width = 64;
  o.heads = 4;
  if (family == ModelFamily::kLlama) o.kv_heads = 2;
  o.ffn_width = 96;
  o.vocab = 40;
  o.positions = 16;
  o.rope_theta = 50000;
  o.norm_eps = 1e-6;
  o.tied_embeddings = tied;
  return o;
}

/// The shape of each parameter, said here once more on purpose.
std::vector<int64_t> shape_of(const std::string& name, const ModelOptions& o) {
  const int64_t qkv = (o.heads + 2 * o.resolved_kv_heads()) * o.head_width();
  const bool bias = name.ends_with(".bias");
  const auto matrix = [&](int64_t rows, int64_t columns) {
    return bias ? std::vector<int64_t>{rows} : std::vector<int64_t>{rows, columns};
  };
  if (name.find("norm") != std::string::npos) return {o.width};
  if (name.starts_with("embed.tokens") || name.starts_with("head")) return {o.vocab, o.width};
  if (name.starts_with("embed.positions")) return {*o.positions, o.width};
  if (name.find("qkv") != std::string::npos) return matrix(qkv, o.width);
  if (name.find("down") != std::string::npos) return matrix(o.width, *o.ffn_width);
  if (name.find("gate_up") != std::string::npos) return matrix(2 * *o.ffn_width, o.width);
  if (name.find("attention.output") != std::string::npos) return matrix(o.width, o.width);
  return matrix(*o.ffn_width, o.width);
}

/// The parameters of a model, drawn at random.
class Parameters {
 public:
  explicit Parameters(const ModelOptions& o) {
    for (const Recipe& recipe : recipes_of(o, Naming::kHuggingFace)) {
      owned_.push_back(std::make_unique<Parameter>(
          recipe.parameter, at::randn(shape_of(recipe.parameter, o)), LayerKind::kDense, true));
    }
  }
  std::vector<Parameter*> all() const {
    std::vector<Parameter*> pointers;
    for (const auto& parameter : owned_) pointers.push_back(parameter.get());
    return pointers;
  }
  std::vector<NamedTensor> values() const {
    std::vector<NamedTensor> named;
    for (const auto& parameter : owned_) named.push_back({parameter->name(), parameter->value()});
    return named;
  }
  at::Tensor operator[](const std::string& name) const {
    for (const auto& parameter : owned_) {
      if (parameter->name() == name) return parameter->value().detach();
    }
    throw Error(ErrorCode::kInternal, "no parameter " + name);
  }

 private:
  std::vector<std::unique_ptr<Parameter>> owned_;
};

void expect_same(const Parameters& a, const Parameters& b) {
  for (const Parameter* parameter : a.all()) {
    EXPECT_TRUE(at::equal(parameter->value(), b[parameter->name()])) << parameter->name();
  }
}

class Weights : public testing::TestWithParam<std::tuple<ModelFamily, bool>> {
 protected:
  ModelOptions options() const { return tiny(std::get<0>(GetParam()), std::get<1>(GetParam())); }
  ScratchFolder folder_;
};
INSTANTIATE_TEST_SUITE_P(Families, Weights,
                         testing::Combine(testing::Values(ModelFamily::kGpt2, ModelFamily::kLlama),
                                          testing::Bool()));

TEST_P(Weights, AHuggingFaceFolderKeepsEveryBit) {
  const Parameters saved(options());
  save_hugging_face(folder_.path("m"), options(), saved.values(), DType::kF32);
  const ModelFile file(folder_.path("m"));
  const ModelOptions read = file.options({});
  EXPECT_EQ(config_json_of(read, "float32"), config_json_of(options(), "float32"));
  const Parameters loaded(read);
  file.load(read, loaded.all());
  expect_same(saved, loaded);
}

TEST_P(Weights, AFolderThatCannotBeWrittenWholeStaysAsItWas) {
  const Parameters saved(options());
  save_hugging_face(folder_.path("m"), options(), saved.values(), DType::kF32);
  const std::string before = folder_.content("m/model.safetensors");
  std::filesystem::remove(folder_.path("m/config.json"));
  folder_.put("m/config.json/in_its_place", "");
  EXPECT_THROW(save_hugging_face(folder_.path("m"), options(), saved.values(), DType::kBF16),
               Error);
  EXPECT_EQ(folder_.content("m/model.safetensors"), before);
}

TEST_P(Weights, SavingTwiceGivesTheSameBytes) {
  const Parameters saved(options());
  save_hugging_face(folder_.path("a"), options(), saved.values(), DType::kBF16);
  const ModelFile file(folder_.path("a"));
  const Parameters loaded(options());
  file.load(file.options({}), loaded.all());
  save_hugging_face(folder_.path("b"), options(), loaded.values(), DType::kBF16);
  EXPECT_EQ(folder_.content("a/model.safetensors"), folder_.content("b/model.safetensors"));
  EXPECT_EQ(folder_.content("a/config.json"), folder_.content("b/config.json"));
}

/// Writes the values as llama.cpp's converter lays them out.
class GgufModel {
 public:
  GgufModel(const ModelOptions& o, const Parameters& values) : o_(o) {
    const std::string arch = name_of(o.family);
    keys_.add("general.architecture", arch);
    const auto put = [&](const char* key, int64_t value) {
      keys_.add(arch + "." + key, static_cast<uint32_t>(value));
    };
    put("block_count", o.layers);
    put("embedding_length", o.width);
    put("attention.head_count", o.heads);
    put("feed_forward_length", *o.ffn_width);
    put("context_length", *o.positions);
    if (o.family == ModelFamily::kLlama) {
      put("attention.head_count_kv", *o.kv_heads);
      keys_.add("llama.rope.freq_base", static_cast<float>(o.rope_theta));
      keys_.add("llama.attention.layer_norm_rms_epsilon", static_cast<float>(o.norm_eps));
    } else {
      keys_.add("gpt2.attention.layer_norm_epsilon", static_cast<float>(o.norm_eps));
    }
    for (const Recipe& recipe : recipes_of(o, Naming::kGguf)) add(recipe, values[recipe.parameter]);
  }

  /// Matrices as `dtype`, everything else as F32.
  void write(const std::string& path, DType dtype) const {
    std::vector<TensorSpec> specs;
    for (const auto& [name, tensor] : tensors_) {
      specs.push_back({name, tensor.dim() == 2 ? dtype : DType::kF32, tensor.sizes().vec()});
    }
    GgufWriter writer(path, keys_, specs);
    for (size_t i = 0; i < specs.size(); ++i) {
      const at::Tensor values = tensors_[i].second.contiguous();
      std::vector<std::byte> bytes(*byte_count(specs[i].dtype, specs[i].shape));
      encode(specs[i].dtype, {values.data_ptr<float>(), static_cast<size_t>(values.numel())},
             bytes);
      writer.append(bytes);
    }
    writer.finish();
  }

 private:
  void add(const Recipe& recipe, const at::Tensor& value) {
    int64_t row = 0;
    for (const Piece& piece : recipe.pieces) {
      at::Tensor rows = value.narrow(0, row, piece.rows);
      row += piece.rows;
      // The converter's permute(): halves of a head next to each other.
      if (piece.layout == Layout::kPairsAdjacent) {
        rows = rows.reshape({piece.heads, 2, o_.head_width() / 2, o_.width})
                   .transpose(1, 2)
                   .reshape({piece.rows, o_.width});
      }
      tensors_.emplace_back(piece.tensor, rows);
    }
  }

  const ModelOptions& o_;
  GgufMetadata keys_;
  std::vector<std::pair<std::string, at::Tensor>> tensors_;
};

TEST_P(Weights, AGgufFileOfFloatsKeepsEveryBit) {
  const ModelOptions o = options();
  const Parameters saved(o);
  GgufModel(o, saved).write(folder_.path("m.gguf"), DType::kF32);
  const ModelFile file(folder_.path("m.gguf"));
  const ModelOptions read = file.options({});
  EXPECT_EQ(config_json_of(read, "float32"), config_json_of(o, "float32"));
  const Parameters loaded(read);
  file.load(read, loaded.all());
  expect_same(saved, loaded);
}

TEST_P(Weights, QuantisedGgufFilesLoadDequantised) {
  const ModelOptions o = options();
  const Parameters saved(o);
  for (const DType dtype : {DType::kF16, DType::kBF16, DType::kQ8_0, DType::kQ4_0, DType::kQ4_1}) {
    GgufModel(o, saved).write(folder_.path("m.gguf"), dtype);
    const Parameters loaded(o);
    ModelFile(folder_.path("m.gguf")).load(o, loaded.all());
    // Rows are permuted, never their elements: each row quantises alone.
    GgufModel(o, loaded).write(folder_.path("again.gguf"), dtype);
    EXPECT_EQ(folder_.content("m.gguf"), folder_.content("again.gguf")) << name_of(dtype);
  }
}

class WeightErrors : public testing::Test {
 protected:
  WeightErrors() : o_(tiny(ModelFamily::kLlama, true)), values_(o_) {
    save_hugging_face(folder_.path(), o_, values_.values(), DType::kF32);
  }
  std::string error_of_load() {
    try {
      const ModelFile file(folder_.path());
      const ModelOptions read = file.options({});
      file.load(read, Parameters(read).all());
    } catch (const Error& error) {
      return error.what();
    }
    return "no error";
  }
  void change_config(const std::string& from, const std::string& to) {
    std::string config = folder_.content("config.json");
    const size_t at = config.find(from);
    ASSERT_NE(at, std::string::npos);
    folder_.put("config.json", config.replace(at, from.size(), to));
  }
  ScratchFolder folder_;
  ModelOptions o_;
  Parameters values_;
};

TEST_F(WeightErrors, AnotherShapeNamesTheTensor) {
  change_config("\"intermediate_size\": 96", "\"intermediate_size\": 97");
  EXPECT_THAT(error_of_load(), HasSubstr("expected tensor model.layers.0.mlp.gate_proj.weight "
                                         "[97, 64], its shape is [96, 64]"));
}

TEST_F(WeightErrors, AMissingTensorIsNamed) {
  change_config("\"num_hidden_layers\": 2", "\"num_hidden_layers\": 3");
  EXPECT_THAT(error_of_load(),
              HasSubstr("tensor model.layers.2.input_layernorm.weight [64], it is missing"));
}

TEST_F(WeightErrors, ATensorWithoutAPlaceIsRefused) {
  change_config("\"num_hidden_layers\": 2", "\"num_hidden_layers\": 1");
  EXPECT_THAT(error_of_load(), HasSubstr("the model has no place for tensor model.layers.1."));
}

TEST_F(WeightErrors, AVariantIsRefusedByItsKey) {
  change_config("\"hidden_act\": \"silu\"", "\"hidden_act\": \"gelu\"");
  EXPECT_THAT(error_of_load(),
              HasSubstr("config.json: hidden_act: only \"silu\" is supported, got \"gelu\""));
}

TEST_F(WeightErrors, HostileShapesAreRefused) {
  change_config("\"num_hidden_layers\": 2", "\"num_hidden_layers\": 2000000000");
  EXPECT_THAT(error_of_load(), HasSubstr("2000000000 blocks announced, but only"));
  change_config("\"num_hidden_layers\": 2000000000", "\"num_hidden_layers\": -1");
  EXPECT_THAT(error_of_load(), HasSubstr("num_hidden_layers: expected 1 to"));
  change_config("\"num_hidden_layers\": -1", "\"num_hidden_layers\": \"2\"");
  EXPECT_THAT(error_of_load(), HasSubstr("num_hidden_layers: expected an integer, got \"2\""));
}

TEST_F(WeightErrors, ShapesBeyondTheFileNameIt) {
  const std::string config = folder_.content("config.json");
  for (const auto& [from, to] : std::vector<std::pair<std::string, std::string>>{
           {"\"intermediate_size\": 96", "\"intermediate_size\": 2147483648"},
           {"\"vocab_size\": ", "\"vocab_size\": 200000"}}) {
    change_config(from, to);
    EXPECT_THAT(error_of_load(), testing::ContainsRegex(
                                     "config\\.json: announces a model of at least [0-9]+ weights, "
                                     "but its tensors hold only [0-9]+"))
        << to;
    folder_.put("config.json", config);
  }
}

TEST_F(WeightErrors, AnIncompleteModelIsNotSaved) {
  std::vector<NamedTensor> values = values_.values();
  values.pop_back();
  EXPECT_THROW(save_hugging_face(folder_.path("x"), o_, values, DType::kF32), Error);
  EXPECT_FALSE(std::filesystem::exists(folder_.path("x")));
}

}  // namespace
}  // namespace wattle
