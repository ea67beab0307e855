#pragma once

#include <map>
#include <span>
#include <string>
#include <vector>

#include "formats/tensor_info.h"
#include "trainer/models/weights/recipe.h"
#include "trainer/state/named_tensor.h"

namespace wattle {

/// A tensor of a file to come: rows of a parameter's value.
struct Part {
  std::string parameter;
  Piece piece;
  at::Tensor rows;  ///< contiguous, any float type

  std::vector<int64_t> shape_in_file() const;
  /// The numbers in the file's order, encoded. Errors are encode()'s, with the tensor's name.
  std::vector<std::byte> encoded(DType dtype) const;
};

/// Cuts parameters into the tensors of a file, in the order of the forward pass. Throws
/// Error(kInternal) if they aren't all the parameters of a model of these options,
/// Error(kUnsupported) for a family that such files don't have.
std::vector<Part> parts_of(const ModelOptions& options, Naming naming,
                           std::span<const NamedTensor> parameters);

}  // namespace wattle
