#include "compression/report/compression_report.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "common/error.h"
#include "common/mapped_file.h"

namespace wattle {
namespace {

/// Where rounding loses less (in nats, say), a share of it says nothing.
constexpr double kLeastLoss = 1e-3;

using Json = nlohmann::ordered_json;
constexpr int64_t kFloatBytes = 4;

Json tensor_json(const std::string& name, const DeployedWeight& weight) {
  const int64_t bytes = weight.format->bytes_of(weight.values.sizes());
  const auto count = static_cast<double>(weight.values.numel());
  Json json = {{"name", name},
               {"format", weight.format->name()},
               {"bits_per_weight", 8.0 * static_cast<double>(bytes) / count},
               {"mean_scale", nullptr},
               {"clipped_share", nullptr},
               {"signal_to_noise_db", nullptr},
               {"bytes_before", weight.values.numel() * kFloatBytes},
               {"bytes_after", bytes}};
  try {
    const WeightScales* scales = weight.scales ? &*weight.scales : nullptr;
    const QuantizationFigures figures =
        figures_of(*weight.format, weight.values.detach().contiguous(), scales);
    json["mean_scale"] = figures.mean_scale;
    json["clipped_share"] = figures.clipped_share;
    if (std::isfinite(figures.signal_to_noise_db)) {
      json["signal_to_noise_db"] = figures.signal_to_noise_db;
    }
  } catch (const Error& error) {  // what the last update left may be beyond the format
    if (error.code() != ErrorCode::kNonFinite) throw;
    json["not_rounded"] = error.what();
  }
  return json;
}

/// In the model's order.
Json tensors_json(const CompressionFacts& facts) {
  Json tensors = Json::array();
  for (const Parameter* parameter : facts.model.parameters) {
    const auto found = facts.deployment.find(parameter->name());
    if (found != facts.deployment.end()) {
      tensors.push_back(tensor_json(found->first, found->second));
      const auto effect = facts.loss_effects.find(found->first);
      tensors.back()["loss_effect"] =
          effect == facts.loss_effects.end() ? Json(nullptr) : Json(effect->second);
    }
  }
  return tensors;
}

Json activations_json(const CompressionFacts& facts) {
  Json activations = Json::array();
  for (const ActivationFigures& activation : facts.activations) {
    const auto share = facts.clipped_shares.find(activation.point);
    activations.push_back(
        {{"name", activation.point},
         {"bits", activation.grid.bits},
         {"symmetric", activation.grid.symmetric},
         {"scale", activation.scale.scale},
         {"zero_point", activation.scale.zero_point},
         {"clipped_share",
          share == facts.clipped_shares.end() ? Json(nullptr) : Json(share->second)}});
  }
  return activations;
}

Json files_json(const std::vector<std::string>& exported) {
  namespace fs = std::filesystem;
  std::vector<fs::path> paths;
  for (const std::string& path : exported) {
    if (!fs::is_directory(path)) {
      paths.emplace_back(path);
      continue;
    }
    for (const auto& entry : fs::recursive_directory_iterator(path)) {
      if (entry.is_regular_file()) paths.push_back(entry.path());
    }
  }
  std::ranges::sort(paths);
  Json files = Json::array();
  for (const fs::path& path : paths) {
    const MappedFile file(path);
    const auto bytes = file.bytes();
    files.push_back(
        {{"path", path.string()},
         {"bytes", bytes.size()},
         {"xxh3_128", text_hash({reinterpret_cast<const char*>(bytes.data()), bytes.size()})}});
  }
  return files;
}

const char* name_of(RoundedModel::Of of) {
  return of == RoundedModel::Of::kFloatRun  ? "float run"
         : of == RoundedModel::Of::kTeacher ? "teacher"
                                            : "own weights";
}

std::string words_for(const RoundedModel& model) {
  switch (model.of) {
    case RoundedModel::Of::kFloatRun:
      return fmt::format("the float run {}, quantised after training", model.path);
    case RoundedModel::Of::kTeacher:
      return fmt::format("the teacher {}, quantised after its training", model.path);
    case RoundedModel::Of::kOwnWeights:
      return "the float weights that this run ended with, quantised after training";
  }
  throw Error(ErrorCode::kInternal, "report: unknown kind of baseline");
}

void add_gains(const PostTrainingLosses& losses, double trained_loss, Json& json) {
  json["gained_over_nearest"] = losses.nearest - trained_loss;
  if (losses.gptq) json["gained_over_gptq"] = *losses.gptq - trained_loss;
}

Json losses_json(const PostTrainingLosses& losses) {
  Json json = {{"float_loss", losses.in_float}, {"nearest_loss", losses.nearest}};
  if (losses.gptq) json["gptq_loss"] = *losses.gptq;
  return json;
}

Json baseline_json(const RoundedModel& model, const InferenceComparison& own) {
  Json json = {{"of", name_of(model.of)}, {"what", words_for(model)}};
  if (!model.path.empty()) json["path"] = model.path;
  const double trained_loss = own.compressed.loss;
  if (!model.losses) {
    json.update(losses_json({own.in_float.loss, trained_loss}));
    json["trained_loss"] = trained_loss;
    json["note"] =
        "rounding these weights after training gives the very ones that this run ends "
        "with, so that this says nothing of what was gained";
    return json;
  }
  json.update(losses_json(*model.losses));
  json["trained_loss"] = trained_loss;
  add_gains(*model.losses, trained_loss, json);
  const double lost = model.losses->nearest - model.losses->in_float;
  if (model.of == RoundedModel::Of::kFloatRun && lost > kLeastLoss) {
    json["recovered_share"] = (model.losses->nearest - trained_loss) / lost;
  }
  return json;
}

/// What GPTQ did when an entry began; a gain where nothing was trained since.
Json gptq_json(const BaselineCallback& callback, int64_t steps, double trained_loss) {
  const Baseline& found = *callback.baseline();
  Json json = {{"of", "before gptq"},
               {"what", fmt::format("the float weights of step {}, quantised then", found.step)},
               {"entry", callback.entry()},
               {"step", found.step}};
  const PostTrainingLosses losses{found.float_loss, found.nearest_loss, found.gptq_loss};
  json.update(losses_json(losses));
  json["trained_loss"] = trained_loss;
  if (found.step == steps) add_gains({losses.in_float, losses.nearest}, trained_loss, json);
  return json;
}

Json baselines_json(const CompressionFacts& facts) {
  Json baselines = Json::array();
  if (!facts.inference) return baselines;
  for (const RoundedModel& model : facts.baselines) {
    baselines.push_back(baseline_json(model, *facts.inference));
  }
  for (const BaselineCallback* callback : facts.gptq) {
    if (!callback->baseline()) continue;
    baselines.push_back(gptq_json(*callback, facts.steps, facts.inference->compressed.loss));
  }
  return baselines;
}

Json spread_json(const Spread& spread) {
  return {{"median", spread.median}, {"least", spread.least}, {"most", spread.most}};
}

Json energy_json(const InferenceEnergy& energy, const std::string& unit) {
  std::vector<double> before, after, differences;
  for (const JoulesPair& pair : energy.pairs) {
    before.push_back(pair.in_float);
    after.push_back(pair.compressed);
    differences.push_back(pair.compressed - pair.in_float);
  }
  const EnergyVerdict verdict = verdict_of(energy.pairs);
  return {{"unit", "joules a " + unit},
          {"source", energy.source},
          {"estimated", energy.source.find("estimated") != std::string::npos},
          {"pairs", energy.pairs.size()},
          {unit + "s_a_side", energy.units},
          {"float", spread_json(spread_of(before))},
          {"compressed", spread_json(spread_of(after))},
          {"difference", spread_json(spread_of(differences))},
          {"verdict", verdict == EnergyVerdict::kMore   ? "uses more energy"
                      : verdict == EnergyVerdict::kLess ? "uses less energy"
                                                        : "no difference measured"}};
}

Json inference_json(const CompressionFacts& facts) {
  const InferenceComparison& found = *facts.inference;
  const auto side = [](const Evaluation& evaluation) {
    Json json = {{"loss", evaluation.loss}};
    if (evaluation.accuracy) json["accuracy"] = *evaluation.accuracy;
    return json;
  };
  Json json = {{"float", side(found.in_float)}, {"compressed", side(found.compressed)}};
  if (!found.energy.pairs.empty()) json["energy"] = energy_json(found.energy, facts.unit);
  json["note"] =
      "this program computes with rounded float32 weights on both sides; a program that multiplies "
      "in the format itself will use another amount";
  return json;
}

/// Each weight in each format that was tried, and whether it was taken.
Json widths_json(const std::vector<const QuantizeCallback*>& quantizers) {
  Json widths = Json::array();
  for (const QuantizeCallback* quantizer : quantizers) {
    for (const WidthAssignment& weight : quantizer->widths()) {
      for (size_t i = 0; i < weight.readings.size(); ++i) {
        const WidthReading& reading = weight.readings[i];
        widths.push_back(
            {{"name", weight.parameter},
             {"format", reading.format->name()},
             {"bytes", reading.bytes},
             {"loss_increase",
              std::isfinite(reading.loss_increase) ? Json(reading.loss_increase) : Json(nullptr)},
             {"kl_divergence", reading.divergence ? Json(*reading.divergence) : Json(nullptr)},
             {"chosen", i == weight.chosen}});
      }
    }
  }
  return widths;
}

/// Within which budgets, and whether they were measured: joules are not.
Json width_budgets_json(const std::vector<const QuantizeCallback*>& quantizers) {
  Json budgets = Json::array();
  for (const QuantizeCallback* quantizer : quantizers) {
    const WidthOptions* options = quantizer->width_options();
    if (options == nullptr) continue;
    Json budget = {{"entry", quantizer->name()}};
    if (options->budget_joules) {
      budget["joules"] = *options->budget_joules;
      budget["joules_per_byte"] = options->joules_of_byte();
      budget["source"] = "estimated: each byte of the weights read once, at joules_per_byte";
    } else {
      budget["bytes"] = *options->budget_bytes;
    }
    budgets.push_back(budget);
  }
  return budgets;
}

/// How formats changed while the model trained.
Json width_changes_json(const std::vector<const QuantizeCallback*>& quantizers) {
  Json changes = Json::array();
  for (const QuantizeCallback* quantizer : quantizers) {
    if (quantizer->adaptive() == nullptr) continue;
    for (const WidthChange& change : quantizer->adaptive()->changes()) {
      changes.push_back(
          {{"step", change.step},
           {"name", change.parameter},
           {"from", change.from},
           {"to", change.to},
           {"noise_scale",
            std::isfinite(change.noise_scale) ? Json(change.noise_scale) : Json(nullptr)}});
    }
  }
  return changes;
}

/// `why`, and which tensors their format can't hold.
std::string not_measured(std::string why, const Json& tensors) {
  for (const Json& tensor : tensors) {
    if (!tensor.contains("not_rounded")) continue;
    why += fmt::format("{}{}: {}", why.empty() ? "" : "; ", tensor.at("name").get<std::string>(),
                       tensor.at("not_rounded").get<std::string>());
  }
  return why;
}

int64_t sum_of(const Json& tensors, const char* key) {
  int64_t sum = 0;
  for (const Json& tensor : tensors) sum += tensor.at(key).get<int64_t>();
  return sum;
}

}  // namespace

void add_exports(const std::vector<std::string>& paths, const std::string& ledger, Json& report) {
  report["exported"] = files_json(paths);
  show_exports(ledger.empty() ? "" : text_hash(ledger), report);
}

void add_compression(const CompressionFacts& facts, Json& report) {
  Json compression;
  compression["tensors"] = tensors_json(facts);
  const int64_t all = facts.model.parameter_count() * kFloatBytes;
  const int64_t before = sum_of(compression.at("tensors"), "bytes_before");
  compression["bytes_before"] = all;
  compression["bytes_after"] = all - before + sum_of(compression.at("tensors"), "bytes_after");
  compression["baselines"] = baselines_json(facts);
  if (facts.inference) compression["inference"] = inference_json(facts);
  compression["widths"] = widths_json(facts.quantizers);
  compression["width_budgets"] = width_budgets_json(facts.quantizers);
  compression["width_changes"] = width_changes_json(facts.quantizers);
  compression["activations"] = activations_json(facts);
  const std::string why_not = not_measured(facts.not_measured, compression.at("tensors"));
  if (!why_not.empty()) compression["not_measured"] = why_not;
  compression["loss_unit"] = facts.loss_unit;
  compression["ledger_xxh3_128"] = facts.ledger_hash;
  report["compression"] = std::move(compression);
  show_compression(facts.unit, report);
}

}  // namespace wattle
