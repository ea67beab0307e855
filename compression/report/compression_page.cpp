#include <fmt/format.h>

#include <cmath>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "compression/report/compression_report.h"

namespace wattle {
namespace {

using Json = nlohmann::ordered_json;

constexpr double kRisk = 1.0 / 64;  ///< that the 7 pairs of equal sides agree by chance

std::string megabytes(int64_t bytes) {
  return bytes < 1'000'000 ? fmt::format("{:.1f}\u00a0kB", static_cast<double>(bytes) / 1e3)
                           : fmt::format("{:.1f}\u00a0MB", static_cast<double>(bytes) / 1e6);
}

/// In the unit that leaves one to three digits before the point.
std::string small_joules(double joules, bool estimated) {
  constexpr std::pair<double, const char*> kUnits[] = {
      {1, "J"}, {1e-3, "mJ"}, {1e-6, "µJ"}, {1e-9, "nJ"}};
  for (const auto& [size, name] : kUnits) {
    if (std::abs(joules) < size && size > 1e-9) continue;
    return fmt::format("{}{:.3g}\u00a0{}", estimated ? "~" : "", joules / size, name);
  }
  return "";
}

/// Null stays null: it was not measured.
Json percent(const Json& share) {
  return share.is_null() ? share : Json(fmt::format("{:.2f}\u00a0%", 100 * share.get<double>()));
}

std::string signed_loss(double value) { return fmt::format("{:+.4f}", value); }

void add_card(const std::string& label, const std::string& value, const std::string& note,
              Json& cards) {
  cards.push_back({{"label", label}, {"value", value}, {"note", note}});
}

void add_energy_card(const Json& energy, const std::string& unit, Json& cards) {
  const bool estimated = energy.at("estimated").get<bool>();
  add_card("Inference energy a " + unit,
           small_joules(energy.at("compressed").at("median").get<double>(), estimated),
           fmt::format("{} in float; {} ({})",
                       small_joules(energy.at("float").at("median").get<double>(), estimated),
                       energy.at("verdict") == "uses more energy"
                           ? "compressed, it uses more energy"
                           : energy.at("verdict").get<std::string>(),
                       energy.at("source").get<std::string>()),
           cards);
}

void add_cards(const Json& compression, const std::string& unit, Json& cards) {
  add_card(
      "Model size", megabytes(compression.at("bytes_after").get<int64_t>()),
      fmt::format("from {} in float32", megabytes(compression.at("bytes_before").get<int64_t>())),
      cards);
  if (!compression.contains("inference")) return;
  const std::string loss_unit = compression.at("loss_unit");
  const Json& inference = compression.at("inference");
  add_card("Cost of rounding",
           signed_loss(inference.at("compressed").at("loss").get<double>() -
                       inference.at("float").at("loss").get<double>()),
           loss_unit + " above this run's own float weights", cards);
  for (const Json& baseline : compression.at("baselines")) {
    if (!baseline.contains("gained_over_nearest")) continue;
    const double gained = baseline.at("gained_over_nearest").get<double>();
    add_card(gained < 0 ? "Lost against rounding" : "Gained over rounding",
             fmt::format("{:.4f}", std::abs(gained)),
             fmt::format("{} {} {}", loss_unit, gained < 0 ? "above" : "below",
                         baseline.at("what").get<std::string>()),
             cards);
  }
  if (inference.contains("energy")) add_energy_card(inference.at("energy"), unit, cards);
}

void add_baselines(const Json& baselines, const std::string& loss_unit, Json& tables) {
  if (baselines.empty()) return;
  Json rows = Json::array();
  bool has_float_run = false;
  for (const Json& b : baselines) {
    has_float_run |= b.at("of") == "float run";
    rows.push_back({b.at("what"), b.at("float_loss"), b.at("nearest_loss"),
                    b.value("gptq_loss", Json(nullptr)), b.at("trained_loss"),
                    b.contains("gained_over_nearest")
                        ? Json(signed_loss(b.at("gained_over_nearest").get<double>()))
                        : Json(nullptr)});
  }
  std::string note =
      "validation loss, " + loss_unit +
      ": of the model named on the left in float, rounded to the nearest and "
      "by GPTQ, and of this run's model; gained: how far this run's lies below the nearest "
      "(negative: above)";
  if (!has_float_run) {
    note +=
        ". What training on rounded weights gained over the same training in float, rounded "
        "afterwards, is known where quantize.float_run names such a run";
  }
  tables.push_back(
      {{"title", "Against quantisation after training"},
       {"note", note},
       {"columns", {"compared with", "float", "nearest", "GPTQ", "this run", "gained"}},
       {"rows", rows}});
}

void add_energy(const Json& inference, const std::string& unit, Json& tables) {
  if (!inference.contains("energy")) return;
  const Json& energy = inference.at("energy");
  const bool estimated = energy.at("estimated").get<bool>();
  Json rows = Json::array();
  for (const auto& [key, label] : {std::pair("float", "in float"),
                                   {"compressed", "as deployed"},
                                   {"difference", "difference"}}) {
    Json row = {label};
    for (const char* figure : {"median", "least", "most"}) {
      row.push_back(small_joules(energy.at(key).at(figure).get<double>(), estimated));
    }
    rows.push_back(row);
  }
  tables.push_back(
      {{"title", "Inference energy a " + unit},
       {"note",
        fmt::format(
            "{}: {} pairs, {} {}s a side, measured in turns ({}); a difference counts where "
            "all pairs agree on its sign, which happens by chance in {:.1f}\u00a0% of cases. "
            "{}",
            energy.at("verdict").get<std::string>(), energy.at("pairs").get<int64_t>(),
            energy.at(unit + "s_a_side").get<int64_t>(), unit,
            energy.at("source").get<std::string>(), 100 * kRisk,
            inference.at("note").get<std::string>())},
       {"columns", {"", "median", "least", "most"}},
       {"rows", rows}});
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

void add_widths(const Json& widths, const Json& budgets, const std::string& loss_unit,
                Json& tables) {
  if (widths.empty()) return;
  Json rows = Json::array();
  for (const Json& w : widths) {
    rows.push_back({w.at("name"), w.at("format"), megabytes(w.at("bytes").get<int64_t>()),
                    w.at("loss_increase").is_null() ? Json("not finite") : w.at("loss_increase"),
                    w.at("kl_divergence"), w.at("chosen").get<bool>() ? "chosen" : ""});
  }
  tables.push_back({{"title", "Sensitivity of each weight"},
                    {"note", "each weight alone in each format, on training samples; loss: " +
                                 loss_unit + ", KL: nats" + budget_note(budgets)},
                    {"columns", {"weight", "format", "size", "loss", "KL", ""}},
                    {"rows", rows}});
}

void add_width_changes(const Json& changes, Json& tables) {
  if (changes.empty()) return;
  Json rows = Json::array();
  for (const Json& c : changes) {
    rows.push_back({c.at("step"), c.at("name"), c.at("from"), c.at("to"), c.at("noise_scale")});
  }
  tables.push_back({{"title", "Widths that changed in training"},
                    {"note",
                     "after which step; noise scale: of the weight's gradient, in global batches "
                     "that would have to be averaged for it to be as large as its noise"},
                    {"columns", {"step", "weight", "from", "to", "noise scale"}},
                    {"rows", rows}});
}

void add_tensors(const Json& tensors, const std::string& loss_unit, Json& tables) {
  Json rows = Json::array();
  for (const Json& t : tensors) {
    rows.push_back({t.at("name"), t.at("format"), t.at("bits_per_weight"), t.at("mean_scale"),
                    percent(t.at("clipped_share")), t.at("signal_to_noise_db"), t.at("loss_effect"),
                    megabytes(t.at("bytes_before").get<int64_t>()),
                    megabytes(t.at("bytes_after").get<int64_t>())});
  }
  tables.push_back(
      {{"title", "Compressed tensors"},
       {"note",
        "signal to noise in dB; bits with scales included; loss: how much less it is with this "
        "tensor in float and all others rounded (" +
            loss_unit + "), on quantize.effect_samples training samples"},
       {"columns",
        {"tensor", "format", "bits", "scale", "clipped", "SNR", "loss", "before", "after"}},
       {"rows", rows}});
}

void add_activations(const Json& activations, Json& tables) {
  if (activations.empty()) return;
  Json rows = Json::array();
  for (const Json& a : activations) {
    rows.push_back({a.at("name"), a.at("bits"), a.at("scale"), a.at("zero_point"),
                    percent(a.at("clipped_share"))});
  }
  tables.push_back({{"title", "Rounded activations"},
                    {"note",
                     "clipped: beyond the ends of their grid, on quantize.calibration_samples "
                     "training samples"},
                    {"columns", {"activation", "bits", "scale", "zero point", "clipped"}},
                    {"rows", rows}});
}

}  // namespace

void show_compression(const std::string& unit, Json& report) {
  const Json& compression = report.at("compression");
  const std::string loss_unit = compression.at("loss_unit");
  Json& tables = report["tables"];
  add_cards(compression, unit, report["summary"]);
  add_baselines(compression.at("baselines"), loss_unit, tables);
  if (compression.contains("inference")) add_energy(compression.at("inference"), unit, tables);
  add_widths(compression.at("widths"), compression.at("width_budgets"), loss_unit, tables);
  add_width_changes(compression.at("width_changes"), tables);
  add_tensors(compression.at("tensors"), loss_unit, tables);
  add_activations(compression.at("activations"), tables);
  if (!compression.contains("not_measured")) return;
  report["texts"].push_back(
      {{"title", "What was not measured"}, {"text", compression.at("not_measured")}});
}

void show_exports(const std::string& ledger_hash, Json& report) {
  Json rows = Json::array();
  for (const Json& file : report.at("exported")) {
    rows.push_back({std::filesystem::path(file.at("path").get<std::string>()).filename().string(),
                    megabytes(file.at("bytes").get<int64_t>()), file.at("xxh3_128")});
  }
  if (rows.empty()) return;
  const std::string ledger =
      ledger_hash.empty() ? "" : "; the compression ledger's is " + ledger_hash;
  report["tables"].push_back({{"title", "Exported files"},
                              {"note", "XXH3-128, as xxh128sum prints it" + ledger},
                              {"columns", {"file", "size", "hash"}},
                              {"rows", rows}});
}

}  // namespace wattle
