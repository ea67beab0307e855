#include "trainer/state/optimizer/optimizer_options.h"

#include <algorithm>

#include "common/config/schema.h"

namespace wattle {

void OptimizerOptions::describe(Fields& f) {
  f.choice("name", name,
           {{"adamw", OptimizerName::kAdamW},
            {"adam", OptimizerName::kAdam},
            {"sgd", OptimizerName::kSgd}},
           "update rule");
  f("lr", lr, "learning rate after the warm-up").greater_than(0);
  f("betas", betas, "decay rates of Adam's first and second moment");
  f("eps", eps, "keeps Adam's division finite").greater_than(0);
  f("momentum", momentum, "share of the last update that SGD keeps").at_least(0).less_than(1);
  f("nesterov", nesterov, "SGD looks ahead along its momentum");
  f("weight_decay", weight_decay,
    "decoupled for adamw, added to the gradient for adam and sgd; norms, biases and embeddings do "
    "not decay")
      .at_least(0)
      .default_is("0.01 for adamw, else 0");
  f("schedule", schedule, "the learning rate over the steps");
  f.check([this](Checker& c) {
    const bool decay_rates =
        std::all_of(betas.begin(), betas.end(), [](double beta) { return beta >= 0 && beta < 1; });
    c.require(betas.size() == 2 && decay_rates, "betas",
              "expected two numbers, each at least 0 and less than 1");
    const bool is_sgd = name == OptimizerName::kSgd;
    for (const char* key : {"betas", "eps"}) {
      c.require(!is_sgd || !c.given(key), key, "sgd has no such setting");
    }
    for (const char* key : {"momentum", "nesterov"}) {
      c.require(is_sgd || !c.given(key), key, "only sgd has this setting");
    }
    c.require(!nesterov || momentum > 0, "nesterov", "needs a momentum above 0");
  });
}

double OptimizerOptions::resolved_weight_decay() const {
  return weight_decay.value_or(name == OptimizerName::kAdamW ? 0.01 : 0.0);
}

}  // namespace wattle
