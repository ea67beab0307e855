#include "compression/report/width_scan.h"

#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>

namespace wattle {

using nlohmann::json;

std::string WidthScanCallback::save_state() const {
  json weights = json::array();
  for (const WidthAssignment& weight : entry_.widths()) {
    json readings = json::array();
    for (const WidthReading& reading : weight.readings) {
      readings.push_back(
          {{"format", reading.format->name()},
           {"bytes", reading.bytes},
           {"loss_increase",
            std::isfinite(reading.loss_increase) ? json(reading.loss_increase) : json()},
           {"divergence", reading.divergence ? json(*reading.divergence) : json()}});
    }
    weights.push_back(
        {{"name", weight.parameter}, {"readings", readings}, {"chosen", weight.chosen}});
  }
  return weights.dump();
}

void WidthScanCallback::load_state(const std::string& state) {
  std::vector<WidthAssignment> widths;
  for (const json& weight : json::parse(state)) {
    WidthAssignment assignment{weight.at("name"), {}, weight.at("chosen")};
    for (const json& saved : weight.at("readings")) {
      WidthReading reading{make_weight_format(saved.at("format")), saved.at("bytes"),
                           std::numeric_limits<double>::infinity()};
      if (!saved.at("loss_increase").is_null()) reading.loss_increase = saved.at("loss_increase");
      if (!saved.at("divergence").is_null()) {
        reading.divergence = saved.at("divergence").get<double>();
      }
      assignment.readings.push_back(std::move(reading));
    }
    widths.push_back(std::move(assignment));
  }
  entry_.set_widths(std::move(widths));
}

}  // namespace wattle
