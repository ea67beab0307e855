#include "trainer/models/weights/layout.h"

#include <algorithm>

namespace wattle {
namespace {

/// target [columns, rows] = source [rows, columns] transposed.
void transpose(int64_t rows, int64_t columns, std::span<const float> source,
               std::span<float> target) {
  for (int64_t column = 0; column < columns; ++column) {
    for (int64_t row = 0; row < rows; ++row) {
      target[static_cast<size_t>(column * rows + row)] =
          source[static_cast<size_t>(row * columns + column)];
    }
  }
}

/// Where row `row` of the model's order lies in a file with adjacent pairs: element i of the first
/// half of a head is row 2i, of the second half row 2i + 1.
int64_t adjacent_row(const Piece& piece, int64_t row) {
  const int64_t head_width = piece.rows / piece.heads;
  const int64_t half = head_width / 2;
  const int64_t within = row % head_width;
  return row - within + within % half * 2 + within / half;
}

void copy_row(int64_t columns, std::span<const float> source, int64_t from, std::span<float> target,
              int64_t to) {
  std::copy_n(source.begin() + from * columns, columns, target.begin() + to * columns);
}

}  // namespace

std::vector<int64_t> file_shape(const Piece& piece, std::span<const int64_t> row_shape) {
  std::vector<int64_t> shape = {piece.rows};
  shape.insert(shape.end(), row_shape.begin(), row_shape.end());
  if (piece.layout == Layout::kTransposed) std::reverse(shape.begin(), shape.end());
  return shape;
}

void from_file_layout(const Piece& piece, int64_t columns, std::span<const float> file,
                      std::span<float> model) {
  switch (piece.layout) {
    case Layout::kSame:
      std::copy(file.begin(), file.end(), model.begin());
      return;
    case Layout::kTransposed:
      transpose(columns, piece.rows, file, model);
      return;
    case Layout::kPairsAdjacent:
      for (int64_t row = 0; row < piece.rows; ++row) {
        copy_row(columns, file, adjacent_row(piece, row), model, row);
      }
      return;
  }
}

void to_file_layout(const Piece& piece, int64_t columns, std::span<const float> model,
                    std::span<float> file) {
  switch (piece.layout) {
    case Layout::kSame:
      std::copy(model.begin(), model.end(), file.begin());
      return;
    case Layout::kTransposed:
      transpose(piece.rows, columns, model, file);
      return;
    case Layout::kPairsAdjacent:
      for (int64_t row = 0; row < piece.rows; ++row) {
        copy_row(columns, model, row, file, adjacent_row(piece, row));
      }
      return;
  }
}

}  // namespace wattle
