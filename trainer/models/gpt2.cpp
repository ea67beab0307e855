#include <cmath>

#include "trainer/models/families.h"
#include "trainer/models/token_model.h"
#include "trainer/nn/layers/attention.h"
#include "trainer/nn/layers/dropout.h"
#include "trainer/nn/layers/embedding.h"
#include "trainer/nn/layers/feed_forward.h"
#include "trainer/nn/layers/norm.h"
#include "trainer/nn/layers/residual.h"
#include "trainer/nn/layers/trace.h"

namespace wattle {
namespace {

/// Projections into the residual stream start smaller, as there are two a block.
double residual_deviation(const ModelOptions& o) {
  return kTokenModelDeviation / std::sqrt(2.0 * static_cast<double>(o.layers));
}

class Embeddings : public Layer {
 public:
  Embeddings(const Scope& scope, const ModelOptions& o)
      : tokens_(scope / "tokens", o.vocab, o.width, kTokenModelDeviation),
        positions_(scope / "positions", o.resolved_positions(), o.width, kTokenModelDeviation),
        dropout_(o.dropout, 0) {}

  /// [batch, seq] int64 to [batch, seq, width].
  at::Tensor forward(const at::Tensor& tokens, const ForwardContext& context) override {
    return traced(context, kind(), [&] { return dropout_(positions_(tokens_(tokens)), context); });
  }
  LayerKind kind() const override { return LayerKind::kEmbedding; }

  Parameter& token_table() { return tokens_.table(); }

 private:
  Embedding tokens_;
  PositionEmbedding positions_;
  Dropout dropout_;
};

AttentionOptions attention_of(const ModelOptions& o) {
  return {.width = o.width,
          .heads = o.heads,
          .kv_heads = o.heads,
          .output_deviation = residual_deviation(o)};
}

class Block : public Layer {
 public:
  Block(const Scope& scope, const ModelOptions& o, int64_t index)
      : attention_norm_(scope / "attention_norm", o.width, o.norm_eps),
        attention_(scope / "attention", attention_of(o)),
        attention_dropout_(o.dropout, 2 * index + 1),
        feed_forward_norm_(scope / "feed_forward_norm", o.width, o.norm_eps),
        feed_forward_(scope / "feed_forward", {.width = o.width,
                                               .neurons = o.resolved_ffn_width(),
                                               .output_deviation = residual_deviation(o)}),
        feed_forward_dropout_(o.dropout, 2 * index + 2) {}

  /// [batch, seq, width] to the same.
  at::Tensor forward(const at::Tensor& input, const ForwardContext& context) override {
    at::Tensor x = input;
    at::Tensor y = traced(context, LayerKind::kNorm, [&] { return attention_norm_(x); });
    x = traced(context, LayerKind::kAttention,
               [&] { return residual(x, attention_dropout_(attention_(y), context)); });
    y = traced(context, LayerKind::kNorm, [&] { return feed_forward_norm_(x); });
    return traced(context, LayerKind::kFeedForward,
                  [&] { return residual(x, feed_forward_dropout_(feed_forward_(y), context)); });
  }
  LayerKind kind() const override { return LayerKind::kAttention; }

 private:
  LayerNorm attention_norm_;
  Attention attention_;
  Dropout attention_dropout_;
  LayerNorm feed_forward_norm_;
  GeluFeedForward feed_forward_;
  Dropout feed_forward_dropout_;
};

}  // namespace

void build_gpt2(const ModelOptions& o, const Scope& scope) {
  build_token_model<Embeddings, LayerNorm>(o, scope, [&o](const Scope& scope, int64_t i) {
    return std::make_unique<Block>(scope, o, i);
  });
}

}  // namespace wattle
