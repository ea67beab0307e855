#include "launch/train/compression_summary.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "common/error.h"
#include "compression/distil/distil_callback.h"
#include "compression/report/in_float.h"
#include "launch/train/teacher.h"

namespace wattle {
namespace {

constexpr double kEnergyShare = 0.1, kMostEnergySeconds = 60;

/// What the entries of `compression` want the report to measure, together.
struct Wanted {
  BaselineKind baseline = BaselineKind::kNone;
  std::optional<GptqSection> gptq;  ///< of the first entry that asks for it
  std::optional<std::string> float_run;
  bool ends_with_gptq = false;  ///< the float weights are gone, and nothing was trained since
  int64_t calibration_samples = 0;
  int64_t effect_samples = 0;
  double energy_seconds = 0;
};

Wanted wanted_of(const RunConfig& config, const MeasuringTools& tools) {
  const double usual = std::min(kEnergyShare * tools.run_seconds, kMostEnergySeconds);
  Wanted wanted;
  for (const auto& callback : tools.callbacks) {
    const auto* quantizer = dynamic_cast<const QuantizeCallback*>(callback.get());
    wanted.ends_with_gptq |= quantizer != nullptr && quantizer->ends_with_gptq(tools.steps);
  }
  for (const CompressionEntry& entry : config.compression) {
    if (!entry.quantize) continue;
    const QuantizeOptions& options = *entry.quantize;
    wanted.baseline = std::max(wanted.baseline, options.baseline);
    if (!wanted.gptq) wanted.gptq = baseline_gptq(options);
    if (options.float_run) wanted.float_run = options.float_run;
    wanted.calibration_samples = std::max(wanted.calibration_samples, options.calibration_samples);
    wanted.effect_samples = std::max(wanted.effect_samples,
                                     options.resolved_effect_samples(config.data.has_sequences()));
    wanted.energy_seconds = std::max(wanted.energy_seconds, options.energy_seconds.value_or(usual));
  }
  return wanted;
}

/// Whether rounding the float weights by the formats' own rules gives what forward reads.
bool rounds_by_rule_alone(const Replica& replica, const QuantisedParts& parts) {
  const Deployment deployment = deployment_of(*replica.parameters);
  return parts.activations.empty() && std::ranges::none_of(deployment, [](const auto& one) {
           return one.second.scales.has_value();
         });
}

class Baselines {
 public:
  /// What was measured before one fails stays in `found`.
  Baselines(const RunConfig& config, Replica& replica, const MeasuringTools& tools,
            const Wanted& wanted, std::vector<RoundedModel>& found)
      : config_(config),
        replica_(replica),
        tools_(tools),
        wanted_(wanted),
        found_(found),
        parts_(quantised_parts(replica.model, *replica.parameters)),
        options_{tools.calibration, wanted.calibration_samples, wanted.gptq} {}

  /// `float_run`: nullptr without.
  void measure(Model* float_run) {
    if (wanted_.baseline == BaselineKind::kNone || !tools_.evaluator) return;
    if (float_run) add(RoundedModel::Of::kFloatRun, *wanted_.float_run, *float_run);
    for (size_t i = 0; i < config_.compression.size(); ++i) {
      const auto& distil = config_.compression[i].distil;
      if (!distil || distil->teacher == wanted_.float_run) continue;
      add_teacher(distil_name(i), distil->teacher.value());
    }
    if (!wanted_.ends_with_gptq) add_own_weights();
  }

 private:
  void add(RoundedModel::Of of, const std::string& path, Model& model) {
    const std::unique_ptr<Evaluator> evaluator = tools_.evaluator_of(model);
    found_.push_back({of, path, evaluate_after_rounding(model, parts_, options_, [&evaluator] {
                        return evaluator->run()->loss;
                      })});
  }

  /// A teacher of another shape is no model that this one could have been.
  void add_teacher(const std::string& name, const std::string& path) {
    for (const auto& callback : tools_.callbacks) {
      auto* distil = dynamic_cast<DistilCallback*>(callback.get());
      if (distil == nullptr || distil->name() != name) continue;
      if (!lacks(distil->teacher(), parts_, replica_.model).empty()) continue;
      add(RoundedModel::Of::kTeacher, path, distil->teacher());
    }
  }

  void add_own_weights() {
    if (rounds_by_rule_alone(replica_, parts_) && !options_.gptq) {
      found_.push_back({.of = RoundedModel::Of::kOwnWeights});
      return;
    }
    in_float(replica_.model, *replica_.parameters, [this] {
      found_.push_back({RoundedModel::Of::kOwnWeights, "",
                        evaluate_after_rounding(replica_.model, parts_, options_,
                                                [this] { return tools_.evaluator->run()->loss; })});
    });
  }

  const RunConfig& config_;
  Replica& replica_;
  const MeasuringTools& tools_;
  const Wanted& wanted_;
  std::vector<RoundedModel>& found_;
  QuantisedParts parts_;
  PostTrainingOptions options_;
};

}  // namespace

namespace {

/// Nothing if one of the ranks can't read it, which `failure` then says on each.
std::optional<Model> read_float_run(const RunConfig& config, const Wanted& wanted,
                                    FiguresExchange& exchange, std::string& failure) {
  if (!wanted.float_run) return std::nullopt;
  std::optional<Model> model;
  std::string mine;
  try {
    model = load_float_run(config, *wanted.float_run);
  } catch (const std::exception& error) {
    mine = fmt::format("the float run {}: {}", *wanted.float_run, error.what());
  }
  for (const std::string& why : exchange.gather_texts(mine)) {
    if (failure.empty()) failure = why;
  }
  return failure.empty() ? std::move(model) : std::nullopt;
}

/// Joins them, each once.
void add_reason(const std::string& why, std::string& reasons) {
  if (why.empty() || reasons.find(why) != std::string::npos) return;
  reasons += (reasons.empty() ? "" : "; ") + why;
}

/// Each for itself: what one can't measure, on one rank or all, keeps none of the others.
void measure(const RunConfig& config, Replica& replica, const MeasuringTools& tools,
             CompressionMeasures& measures) {
  FlatParameters& parameters = *replica.parameters;
  Wanted wanted = wanted_of(config, tools);
  if (tools.evaluator && tools.keep_to_limits && wanted.energy_seconds > 0) {
    wanted.energy_seconds = 0;
    add_reason("a cap on watts holds this run, and its pauses would count as inference's joules",
               measures.why_not);
  }
  const auto attempt = [&](const std::function<void()>& work) {
    try {
      tools.ranks.together(work);
    } catch (const Error& error) {
      add_reason(error.what(), measures.failure);
    }
  };
  if (tools.evaluator) {
    attempt([&] {
      measures.inference = compare_inference(
          {replica.model, parameters, *tools.evaluator, tools.exchange, tools.accounts},
          wanted.energy_seconds);
    });
  }
  if (wanted.effect_samples > 0) {
    attempt([&] {
      measures.loss_effects = loss_effects(replica.model, parameters, tools.calibration,
                                           wanted.effect_samples, tools.keep_to_limits);
    });
  }
  attempt([&] {
    measures.clipped_shares =
        clipped_shares(replica.model, tools.calibration, wanted.calibration_samples);
  });
  std::optional<Model> float_run;
  attempt([&] {
    std::string why;
    float_run = read_float_run(config, wanted, tools.exchange, why);
    add_reason(why, measures.failure);
  });
  attempt([&] {
    Baselines(config, replica, tools, wanted, measures.baselines)
        .measure(float_run ? &*float_run : nullptr);
  });
}

}  // namespace

CompressionMeasures measure_compression(const RunConfig& config, Replica& replica,
                                        const MeasuringTools& tools) {
  CompressionMeasures measures;
  if (replica.parameters->transforms().empty()) return measures;
  if (config.energy.budget_joules) {
    measures.why_not =
        "energy.budget_joules limits this run, and the passes that measure losses, energy and "
        "effects could spend more than is left";
    return measures;
  }
  if (!tools.evaluator) {
    measures.why_not = "losses and energy need validation samples, and data.validation holds none";
  }
  measure(config, replica, tools, measures);
  add_reason(measures.failure, measures.why_not);
  return measures;
}

namespace {

void add_what_was_compressed(const RunConfig& config, const Replica& replica,
                             const CompressionOutcome& outcome, const CompressionMeasures& measures,
                             nlohmann::ordered_json& report) {
  const Deployment deployment = deployment_of(*replica.parameters);
  if (deployment.empty()) return;
  CompressionFacts facts{.model = replica.model,
                         .deployment = deployment,
                         .ledger_hash = text_hash(outcome.ledger),
                         .steps = outcome.steps,
                         .baselines = measures.baselines,
                         .gptq = {},
                         .quantizers = {},
                         .inference = measures.inference,
                         .loss_effects = measures.loss_effects,
                         .activations = activation_figures(replica.model),
                         .clipped_shares = measures.clipped_shares,
                         .not_measured = measures.why_not,
                         .unit = config.data.has_sequences() ? "token" : "sample",
                         .loss_unit = loss_unit(replica.options)};
  for (const auto& callback : outcome.callbacks) {
    const auto* gptq = dynamic_cast<const BaselineCallback*>(callback.get());
    if (gptq != nullptr) facts.gptq.push_back(gptq);
    const auto* quantizer = dynamic_cast<const QuantizeCallback*>(callback.get());
    if (quantizer != nullptr) facts.quantizers.push_back(quantizer);
  }
  add_compression(facts, report);
}

}  // namespace

void add_compression_summary(const RunConfig& config, const Replica& replica,
                             const CompressionOutcome& outcome, const CompressionMeasures& measures,
                             nlohmann::ordered_json& report) {
  add_what_was_compressed(config, replica, outcome, measures, report);
  add_exports(outcome.files.paths, outcome.ledger, report);
  if (!outcome.files.failure) return;
  report["export_failure"] = outcome.files.why;
  report["texts"].push_back({{"title", "An export failed"}, {"text", outcome.files.why}});
}

}  // namespace wattle
