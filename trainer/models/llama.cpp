#include "trainer/models/families.h"
#include "trainer/models/token_model.h"
#include "trainer/nn/layers/attention.h"
#include "trainer/nn/layers/embedding.h"
#include "trainer/nn/layers/feed_forward.h"
#include "trainer/nn/layers/norm.h"
#include "trainer/nn/layers/residual.h"
#include "trainer/nn/layers/trace.h"

namespace wattle {
namespace {

class Embeddings : public Layer {
 public:
  Embeddings(const Scope& scope, const ModelOptions& o)
      : tokens_(scope / "tokens", o.vocab, o.width, kTokenModelDeviation) {}

  /// [batch, seq] int64 to [batch, seq, width].
  at::Tensor forward(const at::Tensor& tokens, const ForwardContext& context) override {
    return traced(context, kind(), [&] { return tokens_(tokens); });
  }
  LayerKind kind() const override { return LayerKind::kEmbedding; }

  Parameter& token_table() { return tokens_.table(); }

 private:
  Embedding tokens_;
};

class Block : public Layer {
 public:
  Block(const Scope& scope, const ModelOptions& o)
      : attention_norm_(scope / "attention_norm", o.width, o.norm_eps),
        attention_(scope / "attention", {.width = o.width,
                                         .heads = o.heads,
                                         .kv_heads = o.resolved_kv_heads(),
                                         .bias = false,
                                         .rope_theta = o.rope_theta,
                                         .positions = o.resolved_positions()}),
        feed_forward_norm_(scope / "feed_forward_norm", o.width, o.norm_eps),
        feed_forward_(scope / "feed_forward",
                      {.width = o.width, .neurons = o.resolved_ffn_width()}) {}

  /// [batch, seq, width] to the same.
  at::Tensor forward(const at::Tensor& input, const ForwardContext& context) override {
    at::Tensor x = input;
    at::Tensor y = traced(context, LayerKind::kNorm, [&] { return attention_norm_(x); });
    x = traced(context, LayerKind::kAttention, [&] { return residual(x, attention_(y)); });
    y = traced(context, LayerKind::kNorm, [&] { return feed_forward_norm_(x); });
    return traced(context, LayerKind::kFeedForward, [&] { return residual(x, feed_forward_(y)); });
  }
  LayerKind kind() const override { return LayerKind::kAttention; }

 private:
  RmsNorm attention_norm_;
  Attention attention_;
  RmsNorm feed_forward_norm_;
  SwigluFeedForward feed_forward_;
};

}  // namespace

void build_llama(const ModelOptions& o, const Scope& scope) {
  build_token_model<Embeddings, RmsNorm>(
      o, scope, [&o](const Scope& scope, int64_t) { return std::make_unique<Block>(scope, o); });
}

}  // namespace wattle
