#include "compression/report/compression_report.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "common/mapped_file.h"

namespace wattle {
namespace {

using Json = nlohmann::ordered_json;
constexpr int64_t kFloatBytes = 4;

Json tensor_json(const std::string& name, const DeployedWeight& weight) {
  const WeightScales* scales = weight.scales ? &*weight.scales : nullptr;
  const QuantizationFigures figures =
      figures_of(*weight.format, weight.values.detach().contiguous(), scales);
  return {{"name", name},
          {"format", weight.format->name()},
          {"bits_per_weight", figures.bits_per_weight},
          {"mean_scale", figures.mean_scale},
          {"clipped_share", figures.clipped_share},
          {"signal_to_noise_db", std::isfinite(figures.signal_to_noise_db)
                                     ? Json(figures.signal_to_noise_db)
                                     : Json(nullptr)},
          {"bytes_before", weight.values.numel() * kFloatBytes},
          {"bytes_after", figures.bytes}};
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

Json baseline_json(const BaselineCallback& callback, double final_loss) {
  const Baseline& baseline = *callback.baseline();
  Json json = {{"entry", callback.entry()},
               {"step", baseline.step},
               {"float_loss", baseline.float_loss},
               {"nearest_loss", baseline.nearest_loss}};
  if (baseline.gptq_loss) json["gptq_loss"] = *baseline.gptq_loss;
  json["trained_loss"] = final_loss;
  json["gained_over_nearest"] = baseline.nearest_loss - final_loss;
  if (baseline.gptq_loss) json["gained_over_gptq"] = *baseline.gptq_loss - final_loss;
  return json;
}

Json inference_json(const CompressionFacts& facts) {
  const InferenceComparison& found = *facts.inference;
  const auto side = [&](const MeasuredInference& inference) {
    Json json = {{"loss", inference.evaluation.loss}};
    if (inference.evaluation.accuracy) json["accuracy"] = *inference.evaluation.accuracy;
    json["joules_per_" + facts.unit] =
        inference.joules ? Json(*inference.joules / static_cast<double>(facts.units))
                         : Json(nullptr);
    return json;
  };
  Json json = {{"float", side(found.in_float)},
               {"compressed", side(found.compressed)},
               {"energy_source", found.energy_source}};
  if (found.in_float.joules && found.compressed.joules) {
    json["uses_more_energy"] = *found.compressed.joules > *found.in_float.joules;
  }
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
             {"loss_increase", reading.loss_increase},
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
      budget["joules_per_byte"] = options->joules_per_byte;
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

int64_t sum_of(const Json& tensors, const char* key) {
  int64_t sum = 0;
  for (const Json& tensor : tensors) sum += tensor.at(key).get<int64_t>();
  return sum;
}

std::string megabytes(int64_t bytes) {
  return bytes < 1'000'000 ? fmt::format("{:.1f}\u00a0kB", static_cast<double>(bytes) / 1e3)
                           : fmt::format("{:.1f}\u00a0MB", static_cast<double>(bytes) / 1e6);
}

void add_cards(const Json& compression, const std::string& unit, Json& cards) {
  cards.push_back(
      {{"label", "Model size"},
       {"value", megabytes(compression.at("bytes_after").get<int64_t>())},
       {"note", fmt::format("from {} in float32",
                            megabytes(compression.at("bytes_before").get<int64_t>()))}});
  for (const Json& baseline : compression.at("baselines")) {
    cards.push_back(
        {{"label", "Gained by training"},
         {"value", fmt::format("{:+.4f}", baseline.at("gained_over_nearest").get<double>())},
         {"note", fmt::format("nats below the model of step {} rounded to the nearest",
                              baseline.at("step").get<int64_t>())}});
  }
  if (!compression.contains("inference")) return;
  const Json& inference = compression.at("inference");
  if (!inference.contains("uses_more_energy")) return;
  const std::string key = "joules_per_" + unit;
  const std::string source = inference.at("energy_source");
  const char* about = source.find("estimated") == std::string::npos ? "" : "~";
  const bool more = inference.at("uses_more_energy").get<bool>();
  cards.push_back({{"label", "Inference energy a " + unit},
                   {"value", fmt::format("{}{:.3g} mJ", about,
                                         1e3 * inference.at("compressed").at(key).get<double>())},
                   {"note", fmt::format("{}{:.3g} mJ in float{}; {}", about,
                                        1e3 * inference.at("float").at(key).get<double>(),
                                        more ? ": compressed, it uses more" : "", source)}});
}

std::string budget_note(const Json& budgets) {
  std::string note;
  for (const Json& budget : budgets) {
    if (!budget.contains("joules")) continue;
    note += fmt::format("; {} may take {} J a reading of its weights, estimated at {} J a byte",
                        budget.at("entry").get<std::string>(), budget.at("joules").get<double>(),
                        budget.at("joules_per_byte").get<double>());
  }
  return note;
}

void add_tables(const Json& compression, Json& tables) {
  if (!compression.at("baselines").empty()) {
    Json rows = Json::array();
    for (const Json& b : compression.at("baselines")) {
      rows.push_back({b.at("entry"), b.at("step"), b.at("float_loss"), b.at("nearest_loss"),
                      b.value("gptq_loss", Json(nullptr)), b.at("trained_loss")});
    }
    tables.push_back({{"title", "Training against rounding alone"},
                      {"note",
                       "validation loss in nats: of the model with which the entry began, in float "
                       "and rounded after training up to there, and of the model trained from "
                       "there, rounded"},
                      {"columns", {"entry", "from step", "float", "nearest", "GPTQ", "trained"}},
                      {"rows", rows}});
  }
  Json rows = Json::array();
  for (const Json& w : compression.at("widths")) {
    rows.push_back({w.at("name"), w.at("format"), megabytes(w.at("bytes").get<int64_t>()),
                    w.at("loss_increase"), w.at("kl_divergence"),
                    w.at("chosen").get<bool>() ? "chosen" : ""});
  }
  if (!rows.empty()) {
    tables.push_back({{"title", "Sensitivity of each weight"},
                      {"note", "each weight alone in each format, on training samples; nats" +
                                   budget_note(compression.at("width_budgets"))},
                      {"columns", {"weight", "format", "size", "loss", "KL", ""}},
                      {"rows", rows}});
  }
  rows = Json::array();
  for (const Json& c : compression.at("width_changes")) {
    rows.push_back({c.at("step"), c.at("name"), c.at("from"), c.at("to"), c.at("noise_scale")});
  }
  if (!rows.empty()) {
    tables.push_back({{"title", "Widths that changed in training"},
                      {"note",
                       "after which step; noise scale: of the weight's gradient, in global batches "
                       "that would have to be averaged for it to be as large as its noise"},
                      {"columns", {"step", "weight", "from", "to", "noise scale"}},
                      {"rows", rows}});
  }
  rows = Json::array();
  for (const Json& t : compression.at("tensors")) {
    rows.push_back({t.at("name"), t.at("format"), t.at("bits_per_weight"), t.at("mean_scale"),
                    fmt::format("{:.2f}\u00a0%", 100 * t.at("clipped_share").get<double>()),
                    t.at("signal_to_noise_db"), t.at("loss_effect"),
                    megabytes(t.at("bytes_before").get<int64_t>()),
                    megabytes(t.at("bytes_after").get<int64_t>())});
  }
  tables.push_back(
      {{"title", "Compressed tensors"},
       {"note",
        "signal to noise in dB; bits with scales included; loss: what rounding this tensor alone "
        "adds, in nats, on quantize.effect_samples training samples"},
       {"columns",
        {"tensor", "format", "bits", "scale", "clipped", "SNR", "loss", "before", "after"}},
       {"rows", rows}});
  rows = Json::array();
  for (const Json& file : compression.at("exported")) {
    rows.push_back({std::filesystem::path(file.at("path").get<std::string>()).filename().string(),
                    megabytes(file.at("bytes").get<int64_t>()), file.at("xxh3_128")});
  }
  if (rows.empty()) return;
  tables.push_back({{"title", "Exported files"},
                    {"note", "XXH3-128, as xxh128sum prints it; the compression ledger's is " +
                                 compression.at("ledger_xxh3_128").get<std::string>()},
                    {"columns", {"file", "size", "hash"}},
                    {"rows", rows}});
}

}  // namespace

void add_compression(const CompressionFacts& facts, Json& report) {
  Json compression;
  compression["tensors"] = tensors_json(facts);
  const int64_t all = facts.model.parameter_count() * kFloatBytes;
  const int64_t before = sum_of(compression.at("tensors"), "bytes_before");
  compression["bytes_before"] = all;
  compression["bytes_after"] = all - before + sum_of(compression.at("tensors"), "bytes_after");
  compression["baselines"] = Json::array();
  if (facts.inference) {
    compression["inference"] = inference_json(facts);
    for (const BaselineCallback* callback : facts.baselines) {
      if (!callback->baseline()) continue;
      compression["baselines"].push_back(
          baseline_json(*callback, facts.inference->compressed.evaluation.loss));
    }
  }
  compression["widths"] = widths_json(facts.quantizers);
  compression["width_budgets"] = width_budgets_json(facts.quantizers);
  compression["width_changes"] = width_changes_json(facts.quantizers);
  compression["exported"] = files_json(facts.exported);
  compression["ledger_xxh3_128"] = facts.ledger_hash;
  add_cards(compression, facts.unit, report["summary"]);
  add_tables(compression, report["tables"]);
  report["compression"] = std::move(compression);
}

}  // namespace wattle
