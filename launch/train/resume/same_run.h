#pragma once

#include <map>
#include <string>

#include "launch/train/config/run_config.h"
#include "trainer/data/dataset.h"
#include "trainer/data/order/batch_plan.h"

namespace wattle {

/// What must stay as it was for a run to go on as itself: dotted keys of the configuration with
/// their values, and "data" with the size and the content of the training samples.
using RunIdentity = std::map<std::string, std::string>;

/// `model`: completed from the file it came from.
RunIdentity identity_of(const RunConfig& config, const ModelOptions& model, const BatchPlan& plan,
                        const Dataset& train);

/// What of it says the model's shape.
RunIdentity shape_identity(const ModelOptions& model);

/// As a section of a checkpoint, and back.
std::string to_section(const RunIdentity& identity);
RunIdentity identity_from_section(const std::string& section);

/// Throws Error(kConfig) naming every key that differs, with both values. The micro-batch and the
/// precision may change in a run that is not deterministic. `checkpoint` is named in the message.
void check_same_run(const RunIdentity& now, const RunIdentity& then, bool deterministic,
                    const std::string& checkpoint);

}  // namespace wattle
