#include "trainer/models/weights/recipe.h"

#include <fmt/format.h>

#include "common/error.h"

namespace wattle {
namespace {

/// What a block's or a model's part is called here and in the two kinds of files.
struct Names {
  const char* here;
  const char* hugging_face;
  const char* gguf;
};

class Cook {
 public:
  Cook(const ModelOptions& options, Naming naming) : o_(options), naming_(naming) {}

  std::vector<Recipe> gpt2() {
    const Layout conv1d = naming_ == Naming::kHuggingFace ? Layout::kTransposed : Layout::kSame;
    const int64_t ffn = o_.resolved_ffn_width();
    add({"embed.tokens.weight", "transformer.wte.weight", "token_embd.weight"}, o_.vocab);
    add({"embed.positions.weight", "transformer.wpe.weight", "position_embd.weight"},
        o_.resolved_positions());
    for (block_ = 0; block_ < o_.layers; ++block_) {
      add_pair({"attention_norm", "ln_1", "attn_norm"}, o_.width);
      add_pair({"attention.qkv", "attn.c_attn", "attn_qkv"}, 3 * o_.width, conv1d);
      add_pair({"attention.output", "attn.c_proj", "attn_output"}, o_.width, conv1d);
      add_pair({"feed_forward_norm", "ln_2", "ffn_norm"}, o_.width);
      add_pair({"feed_forward.up", "mlp.c_fc", "ffn_up"}, ffn, conv1d);
      add_pair({"feed_forward.down", "mlp.c_proj", "ffn_down"}, o_.width, conv1d);
    }
    add({"final_norm.weight", "transformer.ln_f.weight", "output_norm.weight"}, o_.width);
    add({"final_norm.bias", "transformer.ln_f.bias", "output_norm.bias"}, o_.width);
    add_head();
    return std::move(recipes_);
  }

  std::vector<Recipe> llama() {
    const int64_t ffn = o_.resolved_ffn_width();
    add({"embed.tokens.weight", "model.embed_tokens.weight", "token_embd.weight"}, o_.vocab);
    for (block_ = 0; block_ < o_.layers; ++block_) {
      add_weight({"attention_norm", "input_layernorm", "attn_norm"}, o_.width);
      add_query_key_value();
      add_weight({"attention.output", "self_attn.o_proj", "attn_output"}, o_.width);
      add_weight({"feed_forward_norm", "post_attention_layernorm", "ffn_norm"}, o_.width);
      recipes_.push_back({here("feed_forward.gate_up", "weight"),
                          {{in_file({"", "mlp.gate_proj", "ffn_gate"}, "weight"), ffn},
                           {in_file({"", "mlp.up_proj", "ffn_up"}, "weight"), ffn}}});
      add_weight({"feed_forward.down", "mlp.down_proj", "ffn_down"}, o_.width);
    }
    add({"final_norm.weight", "model.norm.weight", "output_norm.weight"}, o_.width);
    add_head();
    return std::move(recipes_);
  }

 private:
  void add(const Names& names, int64_t rows) {
    const char* tensor = naming_ == Naming::kGguf ? names.gguf : names.hugging_face;
    recipes_.push_back({names.here, {{tensor, rows}}});
  }

  void add_head() {
    if (!o_.tied_embeddings) add({"head.weight", "lm_head.weight", "output.weight"}, o_.vocab);
  }

  std::string here(const char* part, const char* leaf) const {
    return fmt::format("blocks.{}.{}.{}", block_, part, leaf);
  }

  std::string in_file(const Names& part, const char* leaf) const {
    if (naming_ == Naming::kGguf) return fmt::format("blk.{}.{}.{}", block_, part.gguf, leaf);
    const char* blocks = o_.family == ModelFamily::kGpt2 ? "transformer.h" : "model.layers";
    return fmt::format("{}.{}.{}.{}", blocks, block_, part.hugging_face, leaf);
  }

  void add_weight(const Names& part, int64_t rows, Layout layout = Layout::kSame) {
    recipes_.push_back({here(part.here, "weight"), {{in_file(part, "weight"), rows, layout}}});
  }

  /// A weight and a bias. Only the weight is ever transposed.
  void add_pair(const Names& part, int64_t rows, Layout layout = Layout::kSame) {
    add_weight(part, rows, layout);
    recipes_.push_back({here(part.here, "bias"), {{in_file(part, "bias"), rows}}});
  }

  /// Three tensors in a file, one parameter here.
  void add_query_key_value() {
    const int64_t kv_heads = o_.resolved_kv_heads();
    const int64_t kv_rows = kv_heads * o_.head_width();
    const Layout rotary = naming_ == Naming::kGguf ? Layout::kPairsAdjacent : Layout::kSame;
    recipes_.push_back(
        {here("attention.qkv", "weight"),
         {{in_file({"", "self_attn.q_proj", "attn_q"}, "weight"), o_.width, rotary, o_.heads},
          {in_file({"", "self_attn.k_proj", "attn_k"}, "weight"), kv_rows, rotary, kv_heads},
          {in_file({"", "self_attn.v_proj", "attn_v"}, "weight"), kv_rows}}});
  }

  const ModelOptions& o_;
  Naming naming_;
  int64_t block_ = 0;
  std::vector<Recipe> recipes_;
};

}  // namespace

std::vector<Recipe> recipes_of(const ModelOptions& options, Naming naming) {
  switch (options.family) {
    case ModelFamily::kGpt2:
      return Cook(options, naming).gpt2();
    case ModelFamily::kLlama:
      return Cook(options, naming).llama();
    default:
      throw Error(ErrorCode::kUnsupported,
                  fmt::format("models of family {} have no Hugging Face or GGUF form",
                              name_of(options.family)));
  }
}

}  // namespace wattle
