#include "trainer/loop/energy/energy_tables.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <map>
#include <nlohmann/json.hpp>
#include <string>

namespace wattle {
namespace {

using Json = nlohmann::ordered_json;

/// Joules of nobody knows what are no 0.
Json known(const JoulesBySource& joules) {
  return joules.total() > 0 ? Json(joules.total()) : Json(nullptr);
}

Json account_json(const Account& account) {
  Json sources = Json::object();
  for (size_t i = 0; i < kSourceCount; ++i) {
    const Source source = static_cast<Source>(i);
    if (account.joules[source] > 0) {
      sources[std::string(label_of(source))] = account.joules[source];
    }
  }
  return {{"joules", known(account.joules)},
          {"joules_by_source", sources},
          {"rank_seconds", account.seconds},
          {"source", account.joules.label()}};
}

Json devices_json(const EnergyLedger& ledger) {
  Json devices = Json::array();
  for (const DeviceTotal& device : ledger.devices()) {
    devices.push_back({{"host", device.host},
                       {"device", device.device},
                       {"source", label_of(device.known_source())},
                       {"joules", device.joules > 0 ? Json(device.joules) : Json(nullptr)},
                       {"gaps", device.gaps},
                       {"gap_seconds", device.gap_seconds},
                       {"last_gap", device.last_gap}});
  }
  return devices;
}

/// "12.3 J measured:nvml, 4 J estimated:model"
std::string sources_text(const JoulesBySource& joules) {
  std::string text;
  for (size_t i = 0; i < kSourceCount; ++i) {
    const Source source = static_cast<Source>(i);
    if (joules[source] <= 0) continue;
    text +=
        fmt::format("{}{:.4g} J {}", text.empty() ? "" : ", ", joules[source], label_of(source));
  }
  return text.empty() ? std::string(label_of(Source::kUnavailable)) : text;
}

Json phase_table(const EnergyLedger& ledger, double lost_joules) {
  const double total = std::max(1e-12, ledger.run().joules.total() + lost_joules);
  Json rows = Json::array();
  for (size_t i = 0; i < kPhaseCount; ++i) {
    const Account& account = ledger.phase(static_cast<Phase>(i));
    if (account.seconds == 0 && account.joules.total() == 0) continue;
    rows.push_back({std::string(name_of(static_cast<Phase>(i))), known(account.joules),
                    account.seconds, account.joules.total() / total, account.joules.label()});
  }
  if (lost_joules > 0) {
    rows.push_back({"earlier attempts, after their checkpoint", lost_joules, nullptr,
                    lost_joules / total, nullptr});
  }
  return {{"title", "Energy by phase"},
          {"columns", {"phase", "joules", "seconds of ranks", "share", "source"}},
          {"rows", rows},
          {"note", fmt::format("All ranks and attempts. Inference is evaluation and samples ({}), "
                               "training all other phases ({}); what earlier attempts did after "
                               "the checkpoint that was gone on from is in neither.",
                               sources_text(ledger.inference().joules),
                               sources_text(ledger.training().joules))}};
}

/// By kind, forward and backward; what no kind has comes last, so that the columns add up to the
/// two phases.
Json layer_table(const EnergyLedger& ledger, double lost_joules) {
  const double total = std::max(1e-12, ledger.run().joules.total() + lost_joules);
  std::map<std::string, std::array<double, 2>> kinds;
  std::array<double, 2> rest = {ledger.phase(Phase::kForward).joules.total(),
                                ledger.phase(Phase::kBackward).joules.total()};
  for (const auto& [key, account] : ledger.layers()) {
    if (key.first != Phase::kForward && key.first != Phase::kBackward) continue;
    const size_t column = key.first == Phase::kForward ? 0 : 1;
    kinds[key.second][column] += account.joules.total();
    rest[column] -= account.joules.total();
  }
  Json rows = Json::array();
  const auto add = [&](const std::string& kind, const std::array<double, 2>& joules) {
    const auto cell = [](double value) { return value > 0 ? Json(value) : Json(nullptr); };
    rows.push_back({kind, cell(joules[0]), cell(joules[1]), (joules[0] + joules[1]) / total});
  };
  for (const auto& [kind, joules] : kinds) add(kind, joules);
  add("no kind of layer", {std::max(0.0, rest[0]), std::max(0.0, rest[1])});
  return {{"title", "Energy by kind of layer"},
          {"columns", {"kind", "forward, joules", "backward, joules", "share"}},
          {"rows", rows},
          {"note",
           "Shared out by the time of every so many steps (train.trace_every). The steps before "
           "the first of these, and what surrounds the layers, are of no kind. A language model's "
           "head takes its gradient together with its forward pass."}};
}

Json device_table(const EnergyLedger& ledger) {
  Json rows = Json::array();
  for (const DeviceTotal& device : ledger.devices()) {
    rows.push_back({device.host, device.device, std::string(label_of(device.known_source())),
                    device.joules > 0 ? Json(device.joules) : Json(nullptr), device.gaps,
                    device.gap_seconds, device.last_gap});
  }
  return {
      {"title", "Devices and gaps"},
      {"columns", {"host", "device", "source", "joules", "gaps", "seconds in gaps", "latest gap"}},
      {"rows", rows},
      {"note", "Joules are missing for the time in gaps: totals are then lower bounds."}};
}

}  // namespace

Json ledger_json(const EnergyLedger& ledger, double lost_joules) {
  Json phases = Json::object(), layers = Json::object();
  for (size_t i = 0; i < kPhaseCount; ++i) {
    const Phase phase = static_cast<Phase>(i);
    phases[std::string(name_of(phase))] = account_json(ledger.phase(phase));
  }
  for (const auto& [key, account] : ledger.layers()) {
    layers[key.second][std::string(name_of(key.first))] = account_json(account);
  }
  const double total = ledger.run().joules.total() + lost_joules;
  return {{"total_joules", total > 0 ? Json(total) : Json(nullptr)},
          {"run", account_json(ledger.run())},
          {"training", account_json(ledger.training())},
          {"inference", account_json(ledger.inference())},
          {"lost_steps_joules", lost_joules},
          {"by_phase", phases},
          {"by_layer_kind", layers},
          {"devices", devices_json(ledger)}};
}

Json energy_tables(const EnergyLedger& ledger, double lost_joules) {
  Json tables = Json::array();
  tables.push_back(phase_table(ledger, lost_joules));
  if (!ledger.layers().empty()) tables.push_back(layer_table(ledger, lost_joules));
  if (!ledger.devices().empty()) tables.push_back(device_table(ledger));
  return tables;
}

}  // namespace wattle
