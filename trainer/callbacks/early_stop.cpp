#include "trainer/callbacks/early_stop.h"

#include <limits>
#include <nlohmann/json.hpp>
#include <utility>

namespace wattle {

bool EarlyStop::evaluation_ends(const TrainingView& view, const MetricsRecord& record) {
  if (has_ended()) return true;  // what is done after training doesn't begin it again
  if (std::exchange(model_changes_, view.model_changes) != view.model_changes) {
    best_loss_ = std::numeric_limits<double>::infinity();
  }
  if (*record.eval_loss < best_loss_ - options_.min_improvement) {
    best_loss_ = *record.eval_loss;
    without_improvement_ = 0;
  } else {
    ++without_improvement_;
  }
  return has_ended();
}

std::string EarlyStop::save_state() const {
  nlohmann::json state = {{"without_improvement", without_improvement_},
                          {"model_changes", model_changes_}};
  if (best_loss_ < std::numeric_limits<double>::infinity()) state["best_loss"] = best_loss_;
  return state.dump();
}

void EarlyStop::load_state(const std::string& text) {
  const nlohmann::json state = nlohmann::json::parse(text);
  without_improvement_ = state.at("without_improvement");
  model_changes_ = state.at("model_changes");
  if (state.contains("best_loss")) best_loss_ = state.at("best_loss");
}

}  // namespace wattle
