#pragma once

#include <cstdint>
#include <vector>

#include "trainer/nn/model.h"

namespace wattle {

/// How tokens are drawn.
struct SampleOptions {
  int64_t count = 256;       ///< tokens to add
  double temperature = 1.0;  ///< 0 takes the likeliest
  uint64_t seed = 1;
  int64_t positions = 1024;  ///< the most tokens that the model sees at once: the last ones
};

/// `prompt`, which has at least one token, and the tokens that a language model goes on with. Each
/// token is a whole forward pass: made for short samples.
std::vector<int64_t> generate(Model& model, const std::vector<int64_t>& prompt,
                              const SampleOptions& options);

}  // namespace wattle
