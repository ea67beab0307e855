#include "compression/quantize/quantize_callback.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "common/config/config_file.h"
#include "compression/quantize/saved_quantizer.h"

namespace wattle {

using nlohmann::json;

QuantizeCallback::QuantizeCallback(std::string name, const QuantizeOptions& options,
                                   const Model& model, FlatParameters& parameters)
    : name_(std::move(name)),
      options_(options),
      parameters_(parameters),
      quantizer_(name_, weight_targets(options, model, name_), parameters.parameters(),
                 options.clip_gradients) {}

void QuantizeCallback::train_begins(const TrainingView& view) { follow_schedule(view.step); }

void QuantizeCallback::step_begins(const TrainingView& view) { follow_schedule(view.step); }

void QuantizeCallback::follow_schedule(int64_t step) {
  const bool wanted = options_.active_at(step);
  if (wanted == active_) return;
  set_active(wanted);
  note(step, wanted ? "begins" : "ends");
}

void QuantizeCallback::set_active(bool active) {
  if (active == active_) return;
  active_ = active;
  if (active) {
    parameters_.add_transform(quantizer_);
  } else {
    parameters_.remove_transform(quantizer_);
  }
}

std::string QuantizeCallback::save_state() const {
  QuantizeOptions options = options_;
  json events = json::array();
  for (const auto& [step, what] : events_) events.push_back({{"step", step}, {"what", what}});
  return json{{"active", active_},
              {"clip_gradients", quantizer_.clips_gradients()},
              {"options", write_config(fields_of(options))},
              {"weights", weights_to_json(quantizer_)},
              {"events", events}}
      .dump();
}

void QuantizeCallback::load_state(const std::string& text) {
  const json state = json::parse(text);
  events_.clear();
  for (const json& event : state.at("events")) note(event.at("step"), event.at("what"));
  weights_from_json(state.at("weights"), parameters_.parameters(), quantizer_);
  set_active(state.at("active"));
}

}  // namespace wattle
