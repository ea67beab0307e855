#pragma once

#include <ATen/core/Tensor.h>

#include <string>

namespace wattle {

/// A tensor that a checkpoint holds under a name; `value` shares the storage it is taken from.
struct NamedTensor {
  std::string name;
  at::Tensor value;
};

}  // namespace wattle
