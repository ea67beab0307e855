#pragma once

#include <cstdint>
#include <string>

#include "trainer/nn/model.h"
#include "trainer/train_options.h"

namespace wattle {

/// What `sample:` asks for: its prompt and what a language model of bytes goes on with.
/// `positions`: the most tokens that the model sees at once.
std::string sample_text(Model& model, const TextSampleOptions& sample, uint64_t seed,
                        int64_t positions);

}  // namespace wattle
