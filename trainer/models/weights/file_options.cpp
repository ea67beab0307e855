#include "trainer/models/weights/file_options.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "common/error.h"
#include "common/mapped_file.h"

namespace wattle {
namespace {

using nlohmann::ordered_json;

/// Widths and counts beyond this are no model's.
constexpr int64_t kLargestSize = int64_t{1} << 31;

[[noreturn]] void fail(ErrorCode code, const std::string& path, const std::string& message) {
  throw Error(code, path + ": " + message);
}

/// The shape must hold together before any size is computed from it.
void check(const ModelOptions& o, const std::string& path) {
  const auto require = [&](bool holds, const std::string& message) {
    if (!holds) fail(ErrorCode::kFormat, path, message);
  };
  require(o.width % o.heads == 0, fmt::format("{} heads do not divide width {}", o.heads, o.width));
  require(o.heads % o.resolved_kv_heads() == 0,
          fmt::format("{} key-value heads do not divide {} heads", o.resolved_kv_heads(), o.heads));
  require(o.family != ModelFamily::kLlama || o.head_width() % 2 == 0,
          fmt::format("a head of {} elements cannot be rotated", o.head_width()));
}

int64_t checked_size(int64_t value, const std::string& key, const std::string& path) {
  if (value >= 1 && value <= kLargestSize) return value;
  fail(ErrorCode::kFormat, path,
       fmt::format("{}: expected 1 to {}, got {}", key, kLargestSize, value));
}

/// Typed access to the keys of a config.json.
class ConfigJson {
 public:
  explicit ConfigJson(const std::string& path) : path_(path) {
    const MappedFile file(path);
    const auto* text = reinterpret_cast<const char*>(file.bytes().data());
    root_ = ordered_json::parse(text, text + file.bytes().size(), nullptr, false);
    if (!root_.is_object()) fail(ErrorCode::kFormat, path, "expected a JSON object");
  }

  /// nullptr for a key that is missing or null.
  const ordered_json* find(const char* key) const {
    const auto found = root_.find(key);
    return found == root_.end() || found->is_null() ? nullptr : &*found;
  }

  int64_t size(const char* key) const {
    const ordered_json* value = find(key);
    if (value == nullptr || !value->is_number_integer()) mismatch(key, "an integer", value);
    return checked_size(value->get<int64_t>(), key, path_);
  }
  int64_t size(const char* key, int64_t otherwise) const {
    return find(key) == nullptr ? otherwise : size(key);
  }
  double number(const char* key, double otherwise) const {
    const ordered_json* value = find(key);
    if (value == nullptr) return otherwise;
    if (!value->is_number()) mismatch(key, "a number", value);
    return value->get<double>();
  }
  bool flag(const char* key, bool otherwise) const {
    const ordered_json* value = find(key);
    if (value == nullptr) return otherwise;
    if (!value->is_boolean()) mismatch(key, "true or false", value);
    return value->get<bool>();
  }

  /// A key that selects a variant: Wattle has one of them.
  void require(const char* key, const ordered_json& only, const ordered_json& otherwise) const {
    const ordered_json* value = find(key);
    if ((value == nullptr ? otherwise : *value) == only) return;
    fail(ErrorCode::kUnsupported, path_,
         fmt::format("{}: only {} is supported, got {}", key, only.dump(),
                     value == nullptr ? otherwise.dump() : value->dump()));
  }

  const std::string& path() const { return path_; }

 private:
  [[noreturn]] void mismatch(const char* key, const char* expected,
                             const ordered_json* value) const {
    fail(ErrorCode::kFormat, path_,
         fmt::format("{}: expected {}, {}", key, expected,
                     value == nullptr ? "it is missing" : "got " + value->dump()));
  }

  std::string path_;
  ordered_json root_;
};

ModelOptions gpt2_from(const ConfigJson& config, ModelOptions o) {
  config.require("activation_function", "gelu_new", "gelu_new");
  config.require("scale_attn_weights", true, true);
  config.require("scale_attn_by_inverse_layer_idx", false, false);
  config.require("add_cross_attention", false, false);
  o.family = ModelFamily::kGpt2;
  o.layers = config.size("n_layer");
  o.width = config.size("n_embd");
  o.heads = config.size("n_head");
  o.kv_heads.reset();
  o.ffn_width = config.size("n_inner", 4 * o.width);
  o.vocab = config.size("vocab_size");
  o.positions = config.size("n_positions");
  o.norm_eps = config.number("layer_norm_epsilon", 1e-5);
  o.tied_embeddings = config.flag("tie_word_embeddings", true);
  return o;
}

/// transformers 5 nests the rotary positions' parameters, earlier ones had two keys.
double rope_theta_of(const ConfigJson& config) {
  config.require("rope_scaling", nullptr, nullptr);
  const ordered_json* parameters = config.find("rope_parameters");
  if (parameters == nullptr) return config.number("rope_theta", 10000);
  const std::string expected = "expected an object with a number rope_theta";
  if (!parameters->is_object() || !parameters->contains("rope_theta") ||
      !parameters->at("rope_theta").is_number()) {
    fail(ErrorCode::kFormat, config.path(), "rope_parameters: " + expected);
  }
  if (parameters->value("rope_type", ordered_json("default")) != "default") {
    fail(ErrorCode::kUnsupported, config.path(),
         "rope_parameters: only rope_type \"default\" is supported, got " + parameters->dump());
  }
  return parameters->at("rope_theta").get<double>();
}

ModelOptions llama_from(const ConfigJson& config, ModelOptions o) {
  config.require("hidden_act", "silu", "silu");
  config.require("attention_bias", false, false);
  config.require("mlp_bias", false, false);
  o.family = ModelFamily::kLlama;
  o.layers = config.size("num_hidden_layers");
  o.width = config.size("hidden_size");
  o.heads = config.size("num_attention_heads");
  o.kv_heads = config.size("num_key_value_heads", o.heads);
  config.require("head_dim", o.head_width(), o.head_width());
  o.ffn_width = config.size("intermediate_size");
  o.vocab = config.size("vocab_size");
  o.positions = config.size("max_position_embeddings");
  o.norm_eps = config.number("rms_norm_eps", 1e-6);
  o.rope_theta = rope_theta_of(config);
  o.tied_embeddings = config.flag("tie_word_embeddings", false);
  return o;
}

ordered_json gpt2_json(const ModelOptions& o) {
  return {{"architectures", {"GPT2LMHeadModel"}},
          {"model_type", "gpt2"},
          {"activation_function", "gelu_new"},
          {"n_layer", o.layers},
          {"n_embd", o.width},
          {"n_head", o.heads},
          {"n_inner", o.resolved_ffn_width()},
          {"n_positions", o.resolved_positions()},
          {"vocab_size", o.vocab},
          {"layer_norm_epsilon", o.norm_eps},
          {"embd_pdrop", o.dropout},
          {"resid_pdrop", o.dropout},
          {"attn_pdrop", 0.0}};
}

ordered_json llama_json(const ModelOptions& o) {
  return {{"architectures", {"LlamaForCausalLM"}},
          {"model_type", "llama"},
          {"hidden_act", "silu"},
          {"num_hidden_layers", o.layers},
          {"hidden_size", o.width},
          {"num_attention_heads", o.heads},
          {"num_key_value_heads", o.resolved_kv_heads()},
          {"head_dim", o.head_width()},
          {"intermediate_size", o.resolved_ffn_width()},
          {"max_position_embeddings", o.resolved_positions()},
          {"vocab_size", o.vocab},
          {"rms_norm_eps", o.norm_eps},
          {"rope_theta", o.rope_theta},
          {"attention_bias", false},
          {"mlp_bias", false}};
}

/// The keys of one architecture of a GGUF file.
class GgufKeys {
 public:
  GgufKeys(const GgufFile& file, std::string architecture)
      : file_(file), architecture_(std::move(architecture)) {}

  std::string key(const char* leaf) const { return architecture_ + "." + leaf; }
  bool has(const char* leaf) const { return file_.metadata().find(key(leaf)) != nullptr; }
  int64_t size(const char* leaf) const {
    const uint64_t value = file_.metadata().unsigned_integer(key(leaf));
    return checked_size(static_cast<int64_t>(std::min<uint64_t>(value, INT64_MAX)), key(leaf),
                        file_.path());
  }
  double number(const char* leaf) const { return file_.metadata().number(key(leaf)); }
  /// The shortest decimal of a key that is kept as float32: 1e-5, not 9.999999747378752e-06.
  double short_number(const char* leaf) const {
    return std::stod(fmt::format("{}", static_cast<float>(number(leaf))));
  }

 private:
  const GgufFile& file_;
  std::string architecture_;
};

void read_rotary(const GgufKeys& keys, const GgufFile& file, ModelOptions& o) {
  const auto unsupported = [&](const std::string& what) {
    fail(ErrorCode::kUnsupported, file.path(), what);
  };
  o.rope_theta = keys.has("rope.freq_base") ? keys.short_number("rope.freq_base") : 10000;
  if (keys.has("rope.dimension_count") && keys.size("rope.dimension_count") != o.head_width()) {
    unsupported(fmt::format("{}: only whole heads of {} elements are rotated here",
                            keys.key("rope.dimension_count"), o.head_width()));
  }
  if (keys.has("rope.scaling.type") &&
      file.metadata().text(keys.key("rope.scaling.type")) != "none") {
    unsupported(keys.key("rope.scaling.type") + ": only none is supported");
  }
}

}  // namespace

ModelOptions options_from_config_json(const std::string& path, const ModelOptions& base) {
  const ConfigJson config(path);
  const ordered_json* type = config.find("model_type");
  ModelOptions options;
  if (type != nullptr && *type == "gpt2") {
    options = gpt2_from(config, base);
  } else if (type != nullptr && *type == "llama") {
    options = llama_from(config, base);
  } else {
    fail(ErrorCode::kUnsupported, path,
         "model_type: expected gpt2 or llama, " +
             (type == nullptr ? "it is missing" : "got " + type->dump()));
  }
  check(options, path);
  return options;
}

std::string config_json_of(const ModelOptions& o, const std::string& torch_dtype) {
  if (!o.is_language_model()) {
    throw Error(ErrorCode::kUnsupported,
                fmt::format("family {} has no config.json", name_of(o.family)));
  }
  ordered_json config = o.family == ModelFamily::kGpt2 ? gpt2_json(o) : llama_json(o);
  config["tie_word_embeddings"] = o.tied_embeddings;
  config["torch_dtype"] = torch_dtype;
  return config.dump(2) + "\n";
}

GgufMetadata gguf_metadata_of(const ModelOptions& o) {
  if (!o.is_language_model()) {
    throw Error(ErrorCode::kUnsupported,
                fmt::format("family {} has no GGUF form", name_of(o.family)));
  }
  const bool llama = o.family == ModelFamily::kLlama;
  const std::string architecture = llama ? "llama" : "gpt2";
  GgufMetadata metadata;
  metadata.add("general.architecture", architecture);
  metadata.add("general.type", std::string("model"));
  const auto add = [&](const char* leaf, GgufValue value) {
    metadata.add(architecture + "." + leaf, std::move(value));
  };
  const auto size = [](int64_t value) { return static_cast<uint32_t>(value); };
  add("vocab_size", size(o.vocab));
  add("context_length", size(o.resolved_positions()));
  add("embedding_length", size(o.width));
  add("block_count", size(o.layers));
  add("feed_forward_length", size(o.resolved_ffn_width()));
  add("attention.head_count", size(o.heads));
  if (llama) {
    add("attention.head_count_kv", size(o.resolved_kv_heads()));
    add("attention.layer_norm_rms_epsilon", static_cast<float>(o.norm_eps));
    add("rope.dimension_count", size(o.head_width()));
    add("rope.freq_base", static_cast<float>(o.rope_theta));
  } else {
    add("attention.layer_norm_epsilon", static_cast<float>(o.norm_eps));
  }
  return metadata;
}

ModelOptions options_from_gguf(const GgufFile& file, const ModelOptions& base) {
  ModelOptions o = base;
  const std::string& architecture = file.metadata().text("general.architecture");
  if (architecture != "gpt2" && architecture != "llama") {
    fail(ErrorCode::kUnsupported, file.path(),
         "general.architecture: expected gpt2 or llama, got " + architecture);
  }
  const GgufKeys keys(file, architecture);
  o.family = architecture == "gpt2" ? ModelFamily::kGpt2 : ModelFamily::kLlama;
  o.layers = keys.size("block_count");
  o.width = keys.size("embedding_length");
  o.heads = keys.size("attention.head_count");
  o.kv_heads.reset();
  o.ffn_width = keys.size("feed_forward_length");
  o.positions = keys.size("context_length");
  o.tied_embeddings = file.tensors().find("output.weight") == nullptr;
  const TensorView* embedding = file.tensors().find("token_embd.weight");
  if (embedding == nullptr || embedding->shape.size() != 2) {
    fail(ErrorCode::kFormat, file.path(), "expected a matrix token_embd.weight");
  }
  o.vocab = embedding->shape[0];
  if (o.family == ModelFamily::kLlama) {
    o.kv_heads =
        keys.has("attention.head_count_kv") ? keys.size("attention.head_count_kv") : o.heads;
    o.norm_eps = keys.short_number("attention.layer_norm_rms_epsilon");
    read_rotary(keys, file, o);
  } else {
    o.norm_eps = keys.short_number("attention.layer_norm_epsilon");
  }
  check(o, file.path());
  return o;
}

}  // namespace wattle
