#pragma once

#include <functional>

#include "trainer/nn/model.h"
#include "trainer/state/flat_parameters.h"

namespace wattle {

/// Does `work` while forward reads the master values and no activation is changed: transforms and
/// the hooks on activations are taken away and put back as they were, also if `work` throws. Call
/// between steps.
void in_float(Model& model, FlatParameters& parameters, const std::function<void()>& work);

}  // namespace wattle
