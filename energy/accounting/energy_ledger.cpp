#include "energy/accounting/energy_ledger.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "common/error.h"

namespace wattle {
namespace {

using Json = nlohmann::json;

constexpr std::array<std::string_view, kPhaseCount> kPhaseNames = {
    "data",      "forward",    "backward",   "communication",
    "optimizer", "checkpoint", "evaluation", "other"};

Phase parse_phase(const std::string& name) {
  const auto it = std::ranges::find(kPhaseNames, name);
  if (it == kPhaseNames.end()) {
    throw Error(ErrorCode::kFormat, fmt::format("energy ledger: unknown phase '{}'", name));
  }
  return static_cast<Phase>(it - kPhaseNames.begin());
}

Json json_of(const Account& account) {
  Json joules = Json::object();
  for (size_t i = 0; i < kSourceCount; ++i) {
    const Source source = static_cast<Source>(i);
    if (account.joules[source] != 0) joules[std::string(label_of(source))] = account.joules[source];
  }
  return {{"joules", joules}, {"seconds", account.seconds}};
}

Account account_of(const Json& json) {
  Account account;
  account.seconds = json.at("seconds");
  for (const auto& [label, joules] : json.at("joules").items()) {
    account.joules[parse_source(label)] = joules.get<double>();
  }
  return account;
}

Json json_of(const DeviceTotal& device) {
  return {
      {"host", device.host},     {"device", device.device},    {"source", label_of(device.source)},
      {"joules", device.joules}, {"seconds", device.seconds},  {"gap_seconds", device.gap_seconds},
      {"gaps", device.gaps},     {"last_gap", device.last_gap}};
}

DeviceTotal device_of(const Json& json) {
  DeviceTotal device;
  device.host = json.at("host");
  device.device = json.at("device");
  device.source = parse_source(json.at("source").get<std::string>());
  device.joules = json.at("joules");
  device.seconds = json.at("seconds");
  device.gap_seconds = json.at("gap_seconds");
  device.gaps = json.at("gaps");
  device.last_gap = json.at("last_gap");
  return device;
}

void add_device(std::vector<DeviceTotal>& devices, const DeviceTotal& added) {
  for (DeviceTotal& device : devices) {
    if (device.host != added.host || device.device != added.device ||
        device.source != added.source) {
      continue;
    }
    device.joules += added.joules;
    device.seconds += added.seconds;
    device.gap_seconds += added.gap_seconds;
    device.gaps += added.gaps;
    if (!added.last_gap.empty()) device.last_gap = added.last_gap;
    return;
  }
  devices.push_back(added);
}

}  // namespace

std::string_view name_of(Phase phase) { return kPhaseNames[static_cast<size_t>(phase)]; }

Account& Account::operator+=(const Account& other) {
  joules += other.joules;
  seconds += other.seconds;
  return *this;
}

void EnergyLedger::book(Phase phase, Source source, double joules) {
  phases_[static_cast<size_t>(phase)].joules[source] += joules;
  for (const LayerShare& layer : shares_[static_cast<size_t>(phase)]) {
    layers_[{phase, layer.kind}].joules[source] += joules * layer.share;
  }
}

void EnergyLedger::book_seconds(Phase phase, double seconds) {
  phases_[static_cast<size_t>(phase)].seconds += seconds;
  for (const LayerShare& layer : shares_[static_cast<size_t>(phase)]) {
    layers_[{phase, layer.kind}].seconds += seconds * layer.share;
  }
}

void EnergyLedger::set_layer_shares(Phase phase, std::vector<LayerShare> shares) {
  double sum = 0;
  for (const LayerShare& layer : shares) {
    if (!(layer.share >= 0)) {
      throw Error(ErrorCode::kInternal, fmt::format("energy: layer kind '{}' has a share of {}",
                                                    layer.kind, layer.share));
    }
    sum += layer.share;
  }
  if (sum > 1 + 1e-6) {
    throw Error(ErrorCode::kInternal,
                fmt::format("energy: the layers' shares of {} sum to {}", name_of(phase), sum));
  }
  shares_[static_cast<size_t>(phase)] = std::move(shares);
}

Account EnergyLedger::training() const {
  Account sum;
  for (size_t i = 0; i < kPhaseCount; ++i) {
    if (static_cast<Phase>(i) != Phase::kEvaluation) sum += phases_[i];
  }
  return sum;
}

Account EnergyLedger::run() const {
  Account sum = training();
  return sum += inference();
}

EnergyLedger& EnergyLedger::operator+=(const EnergyLedger& other) {
  for (size_t i = 0; i < kPhaseCount; ++i) phases_[i] += other.phases_[i];
  for (const auto& [key, account] : other.layers_) layers_[key] += account;
  for (const DeviceTotal& device : other.devices_) add_device(devices_, device);
  return *this;
}

std::string EnergyLedger::serialize() const {
  Json json = {{"phases", Json::object()}, {"layers", Json::array()}, {"devices", Json::array()}};
  for (size_t i = 0; i < kPhaseCount; ++i) {
    json["phases"][std::string(kPhaseNames[i])] = json_of(phases_[i]);
  }
  for (const auto& [key, account] : layers_) {
    Json layer = json_of(account);
    layer["phase"] = name_of(key.first);
    layer["kind"] = key.second;
    json["layers"].push_back(layer);
  }
  for (const DeviceTotal& device : devices_) json["devices"].push_back(json_of(device));
  return json.dump();
}

EnergyLedger EnergyLedger::parse(const std::string& text) {
  EnergyLedger ledger;
  try {
    const Json json = Json::parse(text);
    for (const auto& [name, account] : json.at("phases").items()) {
      ledger.phases_[static_cast<size_t>(parse_phase(name))] = account_of(account);
    }
    for (const Json& layer : json.at("layers")) {
      const Phase phase = parse_phase(layer.at("phase"));
      ledger.layers_[{phase, layer.at("kind").get<std::string>()}] = account_of(layer);
    }
    for (const Json& device : json.at("devices")) ledger.devices_.push_back(device_of(device));
  } catch (const Json::exception& e) {
    throw Error(ErrorCode::kFormat, fmt::format("energy ledger: {}", e.what()));
  }
  return ledger;
}

}  // namespace wattle
