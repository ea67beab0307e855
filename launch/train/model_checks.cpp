#include "launch/train/model_checks.h"

#include <fmt/format.h>

#include "common/error.h"
#include "compression/formats/values_refusal.h"
#include "compression/make_callbacks.h"
#include "launch/train/config/exports_fit.h"
#include "launch/train/exports.h"
#include "launch/train/teacher.h"

namespace wattle {
namespace {

/// Of a model that was read, with what nothing is rounded of.
void check_finite(const RunConfig& config, const Model& model) {
  if (!config.model.init_from) return;
  for (const Parameter* parameter : model.parameters) {
    const std::string refusal = non_finite_refusal(parameter->value().detach());
    if (refusal.empty()) continue;
    throw Error(ErrorCode::kConfig,
                fmt::format("model.init_from: {}: {}: {}", *config.model.init_from,
                            parameter->name(), refusal));
  }
}

}  // namespace

void check_with_model(const RunConfig& of_file, int64_t steps, const ModelOptions& options,
                      const Model& model) {
  RunConfig config = of_file;
  config.train.steps = steps;
  check_named_models(config, options);
  check_exports_of_family(config, options.family);
  check_exports_with_model(config, model);
  check_export_rows(config, model);
  check_start_weights(config.compression, model);
  check_finite(config, model);
}

}  // namespace wattle
