#include "launch/train/model_checks.h"

#include "launch/train/config/exports_fit.h"
#include "launch/train/exports.h"
#include "launch/train/teacher.h"

namespace wattle {

void check_with_model(const RunConfig& config, const ModelOptions& options, const Model& model) {
  check_named_models(config, options);
  check_exports_of_family(config, options.family);
  check_export_rows(config, model);
}

}  // namespace wattle
