#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "trainer/data/data_options.h"
#include "trainer/data/dataset.h"

namespace wattle {

/// A table of numbers in memory, row by row.
struct Table {
  std::string path;                ///< for messages
  std::vector<std::string> names;  ///< of the columns; empty where the file names none
  int64_t columns = 0;
  std::vector<float> values;   ///< [rows, columns], finite
  std::vector<int64_t> lines;  ///< of the file, from 1, where each row stands

  int64_t rows() const { return columns == 0 ? 0 : static_cast<int64_t>(values.size()) / columns; }
};

/// Reads comma-separated numbers, gzip-compressed or not. With `header` the first line is no row;
/// it names the columns if it has as many fields as the rows have. A byte order mark before it is
/// skipped. Throws Error(kIo), or Error(kFormat) naming line and column of what is no finite number
/// or too short or too long a row.
Table read_table(const std::string& path, bool header);

/// How the rows' inputs were made of a table's columns: (column - mean) / deviation, in float64.
struct InputColumns {
  std::vector<std::string> names;  ///< or indices in the table, from 0, where it has no names
  std::vector<double> means;
  std::vector<double> deviations;
  std::string target;  ///< likewise
};

/// Samples that were all read into memory.
class RowDataset final : public Dataset {
 public:
  /// inputs [size, ...] float32, targets [size] float32 or int64; `shape` without the first dim;
  /// `columns`: without names where they are no columns of numbers.
  RowDataset(at::Tensor inputs, at::Tensor targets, SampleShape shape, InputColumns columns = {});

  int64_t size() const override { return inputs_.size(0); }
  const SampleShape& shape() const override { return shape_; }
  Batch fetch(std::span<const int64_t> indices) const override;
  const InputColumns& columns() const { return columns_; }

 private:
  at::Tensor inputs_;
  at::Tensor targets_;
  SampleShape shape_;
  InputColumns columns_;
};

/// What a file that holds the model of such samples says of its inputs: "wattle.input.columns",
/// "wattle.input.mean" and "wattle.input.deviation", JSON lists, and "wattle.target", a JSON text.
/// Empty for samples that are not of a CSV file.
std::map<std::string, std::string> input_metadata(const Dataset& data);

/// Which rows train and which evaluate: a split by data.seed into a share, or into folds. Folds of
/// one seed are disjoint and cover all rows; other options don't move them.
struct RowSplit {
  std::vector<int64_t> train;
  std::vector<int64_t> validation;
  /// Throws Error(kConfig) if a part that was asked for would be empty.
  static RowSplit of(const DataOptions& options, int64_t rows);
};

struct RowDatasets {
  RowDataset train;
  RowDataset validation;
};

/// Reads data.path as kind digits or csv says, and splits it; validation keeps its first
/// `most_validation` samples.
RowDatasets read_rows(const DataOptions& options, int64_t most_validation);

}  // namespace wattle
