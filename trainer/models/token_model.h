#pragma once

#include <functional>
#include <memory>
#include <string>

#include "trainer/models/model_options.h"
#include "trainer/nn/layers/trace.h"
#include "trainer/nn/model.h"
#include "trainer/nn/objectives/token_objective.h"
#include "trainer/nn/scope.h"

namespace wattle {

/// What the families of language models have in common: embeddings, blocks, a final norm, and the
/// head that predicts the next token.

/// Standard deviation of initial weights (Radford et al. 2019).
inline constexpr double kTokenModelDeviation = 0.02;

/// The norm after the last block, [batch, seq, width] to the same.
template <class Norm>
class FinalNorm : public Layer {
 public:
  FinalNorm(const Scope& scope, const ModelOptions& o) : norm_(scope, o.width, o.norm_eps) {}

  at::Tensor forward(const at::Tensor& x, const ForwardContext& context) override {
    return traced(context, kind(), [&] { return norm_(x); });
  }
  LayerKind kind() const override { return LayerKind::kNorm; }

 private:
  Norm norm_;
};

/// Adds the layers and the objective to the scope's model. `Embeddings` is a Layer made of
/// (Scope, ModelOptions), whose token_table() a tied head shares; `block` makes block i.
template <class Embeddings, class Norm>
void build_token_model(
    const ModelOptions& o, const Scope& scope,
    const std::function<std::unique_ptr<Layer>(const Scope&, int64_t i)>& block) {
  Model& model = scope.model();
  auto embeddings = std::make_unique<Embeddings>(scope / "embed", o);
  Parameter& token_table = embeddings->token_table();
  model.layers.push_back(std::move(embeddings));
  for (int64_t i = 0; i < o.layers; ++i) {
    model.layers.push_back(block(scope / "blocks" / std::to_string(i), i));
  }
  model.layers.push_back(std::make_unique<FinalNorm<Norm>>(scope / "final_norm", o));
  if (o.tied_embeddings) {
    model.objective = std::make_unique<TokenObjective>(token_table);
  } else {
    model.objective =
        std::make_unique<TokenObjective>(scope / "head", o.vocab, o.width, kTokenModelDeviation);
  }
}

}  // namespace wattle
