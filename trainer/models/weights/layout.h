#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "trainer/models/weights/recipe.h"

namespace wattle {

/// The shape of a piece as it lies in its file, where its parameter has rows of `row_shape`.
std::vector<int64_t> file_shape(const Piece& piece, std::span<const int64_t> row_shape);

/// The piece's values from the file's order into the model's, and back. Both are of the same number
/// of values, `columns` a row of the model's order, and must not overlap.
void from_file_layout(const Piece& piece, int64_t columns, std::span<const float> file,
                      std::span<float> model);
void to_file_layout(const Piece& piece, int64_t columns, std::span<const float> model,
                    std::span<float> file);

}  // namespace wattle
