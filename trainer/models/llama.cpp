#include "trainer/models/families.h"
#include "trainer/nn/layers/attention.h"
#include "trainer/nn/layers/embedding.h"
#include "trainer/nn/layers/feed_forward.h"
#include "trainer/nn/layers/norm.h"
#include "trainer/nn/layers/residual.h"
#include "trainer/nn/layers/trace.h"
#include "trainer/nn/objectives/token_objective.h"

namespace wattle {
namespace {

constexpr double kDeviation = 0.02;

class Embeddings : public Layer {
 public:
  Embeddings(const Scope& scope, const ModelOptions& o)
      : tokens_(scope / "tokens", o.vocab, o.width, kDeviation) {}

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

class FinalNorm : public Layer {
 public:
  FinalNorm(const Scope& scope, const ModelOptions& o) : norm_(scope, o.width, o.norm_eps) {}

  at::Tensor forward(const at::Tensor& x, const ForwardContext& context) override {
    return traced(context, kind(), [&] { return norm_(x); });
  }
  LayerKind kind() const override { return LayerKind::kNorm; }

 private:
  RmsNorm norm_;
};

}  // namespace

void build_llama(const ModelOptions& o, const Scope& scope) {
  Model& model = scope.model();
  auto embeddings = std::make_unique<Embeddings>(scope / "embed", o);
  Parameter& token_table = embeddings->token_table();
  model.layers.push_back(std::move(embeddings));
  for (int64_t i = 0; i < o.layers; ++i) {
    model.layers.push_back(std::make_unique<Block>(scope / "blocks" / std::to_string(i), o));
  }
  model.layers.push_back(std::make_unique<FinalNorm>(scope / "final_norm", o));
  if (o.tied_embeddings) {
    model.objective = std::make_unique<TokenObjective>(token_table);
  } else {
    model.objective =
        std::make_unique<TokenObjective>(scope / "head", o.vocab, o.width, kDeviation);
  }
}

}  // namespace wattle
