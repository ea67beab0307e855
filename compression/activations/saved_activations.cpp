#include "compression/activations/saved_activations.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "common/config/schema.h"
#include "common/error.h"
#include "compression/compression_options.h"

namespace wattle {
namespace {

using nlohmann::json;

ObserverKind kind_named(const std::string& name) {
  using enum ObserverKind;
  for (const ObserverKind kind :
       {kMinMax, kMovingAverage, kPercentile, kHistogram, kLeastSquares}) {
    if (name == name_of(kind)) return kind;
  }
  throw Error(ErrorCode::kFormat, fmt::format("the checkpoint's observer '{}' is not known", name));
}

ActivationPoint& point_named(Model& model, const std::string& name) {
  const auto found = std::ranges::find(model.activations, name,
                                       [](const ActivationPoint* p) { return p->name(); });
  if (found != model.activations.end()) return **found;
  throw Error(
      ErrorCode::kFormat,
      fmt::format("the checkpoint quantises the activations {}, which the model doesn't have",
                  name));
}

}  // namespace

std::vector<std::unique_ptr<ActivationQuantizer>> apply_active_activations(
    const CheckpointMeta& meta, Model& model) {
  std::vector<std::unique_ptr<ActivationQuantizer>> quantizers;
  for (size_t i = 0; i < kMostElements; ++i) {
    const auto section = meta.sections.find(activations_name(i));
    if (section == meta.sections.end()) continue;
    const json state = json::parse(section->second);
    if (!state.at("rounding").get<bool>()) continue;
    for (const json& saved : state.at("activations")) {
      ActivationSettings settings;
      settings.grid = {saved.at("bits").get<int>(), saved.at("symmetric").get<bool>()};
      settings.observer.kind = kind_named(saved.at("observer").at("kind"));
      const std::string name = saved.at("point");
      quantizers.push_back(std::make_unique<ActivationQuantizer>(name, settings));
      quantizers.back()->load(saved);
      quantizers.back()->set_rounding(true);
      point_named(model, name).set_hook(quantizers.back().get());
    }
  }
  return quantizers;
}

std::map<std::string, ActivationGrid> activation_grids_of(const Model& model) {
  std::map<std::string, ActivationGrid> grids;
  for (const ActivationPoint* point : model.activations) {
    const auto* quantizer = dynamic_cast<const ActivationQuantizer*>(point->hook());
    if (quantizer == nullptr || !quantizer->rounds()) continue;
    grids[point->name()] = {quantizer->grid(), *quantizer->scale()};
  }
  return grids;
}

}  // namespace wattle
