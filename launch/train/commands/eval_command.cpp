#include <fmt/format.h>

#include <iostream>
#include <nlohmann/json.hpp>

#include "common/error.h"
#include "energy/clock.h"
#include "launch/train/commands/commands.h"
#include "launch/train/commands/predictions.h"
#include "trainer/loop/evaluator.h"
#include "trainer/loop/records/run_accounts.h"

namespace wattle {

namespace {

using Json = nlohmann::ordered_json;

Json figures_json(const Evaluation& evaluation, const std::optional<IntegerFigures>& integers,
                  const Account& inference, const ModelOptions& model) {
  const bool is_text = model.is_language_model();
  Json figures = {{"loss", evaluation.loss}};
  if (is_text) {
    figures["perplexity"] = evaluation.perplexity();
  } else if (evaluation.accuracy) {
    figures["accuracy"] = *evaluation.accuracy;
  }
  if (integers) {
    if (predicts_values(model)) {
      figures["integer_loss"] = integers->loss;
    } else {
      figures["integer_accuracy"] = integers->accuracy;
      figures["integer_agreement"] = integers->agreement;
    }
    figures["integer_largest_difference_steps"] = integers->largest_difference;
  }
  figures[is_text ? "tokens" : "samples"] = evaluation.scored;
  const double joules = inference.joules.total();
  figures["energy_joules"] = joules > 0 ? Json(joules) : nullptr;
  figures["energy_source"] = inference.joules.label();
  return figures;
}

void print(const Json& figures, bool json) {
  if (json) {
    std::cout << figures.dump() << std::endl;
    return;
  }
  for (const auto& [key, value] : figures.items()) {
    std::cout << fmt::format("{:<32} {}\n", key, value.dump());
  }
}

}  // namespace

int eval_command(const RunSession& session) {
  const RunConfig& config = session.config;
  set_up_threads(session);
  FiguresExchange exchange(session.world, at::kCPU);
  SteadyClock clock;
  EnergyMonitor energy(config.energy, clock);
  RunAccounts accounts(exchange, energy, {});
  ShapedModel shaped = trained_model(session);
  const DataSource data =
      prepare_and_open(config, session.world, shaped.options, DataUse::kEvaluate);
  if (!data.validation) {
    throw Error(ErrorCode::kConfig, "data.validation: expected samples to evaluate, got none");
  }
  Evaluator evaluator(shaped.model, *data.validation,
                      evaluation_plan(config, *data.validation, session.world.size()), exchange,
                      energy);
  const Evaluation evaluation = *evaluator.run();
  accounts.settle();
  const std::optional<IntegerFigures> integers =
      write_predictions(config, shaped, *data.validation, exchange);
  const Account inference = accounts.ledger().inference();
  if (session.world.rank() != 0) return kExitDone;

  print(figures_json(evaluation, integers, inference, shaped.options), session.json);
  return kExitDone;
}

}  // namespace wattle
