#pragma once

#include <cstdint>

#include "common/config/schema.h"

namespace wattle {

/// `gptq:` of a quantize entry.
struct GptqSection {
  int64_t samples = 32;
  double damping = 0.01;

  void describe(Fields& f);
};

}  // namespace wattle
