#include "trainer/data/rows/row_dataset.h"

#include <ATen/ops/empty.h>
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstring>
#include <nlohmann/json.hpp>
#include <utility>

#include "common/error.h"
#include "trainer/data/order/sample_order.h"

namespace wattle {
namespace {

using Targets = DataOptions::Targets;

constexpr int64_t kDigitSide = 8;
constexpr float kLargestDigitPixel = 16;
constexpr const char* kDefaultShare = "0.1";

/// A table taken apart: [rows, features] and [rows].
struct Columns {
  int64_t features = 0;
  std::vector<float> inputs;
  std::vector<float> targets;
};

int64_t target_column(const Table& table, const std::string& target) {
  const auto named = std::find(table.names.begin(), table.names.end(), target);
  if (named != table.names.end()) return named - table.names.begin();
  int64_t index = 0;
  const auto [stop, error] = std::from_chars(target.data(), target.data() + target.size(), index);
  const bool is_number = error == std::errc() && stop == target.data() + target.size();
  if (!is_number || index < -table.columns || index >= table.columns) {
    throw Error(ErrorCode::kConfig,
                fmt::format("data.target: {} has no column '{}'; expected {}an index in [-{}, {})",
                            table.path, target, table.names.empty() ? "" : "a name or ",
                            table.columns, table.columns));
  }
  return index < 0 ? index + table.columns : index;
}

Columns take_apart(const Table& table, int64_t target) {
  Columns columns;
  columns.features = table.columns - 1;
  for (int64_t row = 0; row < table.rows(); ++row) {
    const float* values = table.values.data() + row * table.columns;
    columns.targets.push_back(values[target]);
    columns.inputs.insert(columns.inputs.end(), values, values + target);
    columns.inputs.insert(columns.inputs.end(), values + target + 1, values + table.columns);
  }
  return columns;
}

/// Classes are counted in float32, which holds every integer below this.
constexpr float kMostClasses = 1 << 24;

/// How many classes there are; checks that every target is one.
int64_t count_classes(const Table& table, const std::vector<float>& targets, bool binary) {
  float largest = 1;
  for (size_t row = 0; row < targets.size(); ++row) {
    const float value = targets[row];
    const bool is_class = value >= 0 && value < kMostClasses && std::floor(value) == value;
    if (!is_class || (binary && value > 1)) {
      const std::string expected =
          binary ? "0 or 1" : fmt::format("a class, an integer in [0, {})", kMostClasses);
      throw Error(ErrorCode::kFormat, fmt::format("{}:{}: expected the target to be {}, got {}",
                                                  table.path, table.lines[row], expected, value));
    }
    largest = std::max(largest, value);
  }
  return static_cast<int64_t>(largest) + 1;
}

/// Of a table whose columns are inputs as they are.
InputColumns input_columns(const Table& table, int64_t target) {
  const auto name = [&](int64_t i) {
    return table.names.empty() ? fmt::format("{}", i) : table.names[i];
  };
  InputColumns columns{.names = {},
                       .means = std::vector<double>(table.columns - 1, 0.0),
                       .deviations = std::vector<double>(table.columns - 1, 1.0),
                       .target = name(target)};
  for (int64_t i = 0; i < table.columns; ++i) {
    if (i != target) columns.names.push_back(name(i));
  }
  return columns;
}

/// Shifts and scales each feature so that the training rows have mean 0 and deviation 1, as `found`
/// then says; a feature that is constant there is only shifted.
void standardise(Columns& columns, const std::vector<int64_t>& training_rows, InputColumns& found) {
  const double count = static_cast<double>(training_rows.size());
  for (int64_t feature = 0; feature < columns.features; ++feature) {
    const auto at = [&](int64_t row) -> float& {
      return columns.inputs[row * columns.features + feature];
    };
    double sum = 0, squares = 0;
    for (const int64_t row : training_rows) sum += at(row);
    const double mean = sum / count;
    for (const int64_t row : training_rows) squares += std::pow(at(row) - mean, 2);
    const double deviation = squares > 0 ? std::sqrt(squares / count) : 1.0;
    const int64_t rows = static_cast<int64_t>(columns.targets.size());
    for (int64_t row = 0; row < rows; ++row) {
      at(row) = static_cast<float>((at(row) - mean) / deviation);
    }
    found.means[feature] = mean;
    found.deviations[feature] = deviation;
  }
}

void keep_first(std::vector<int64_t>& rows, int64_t most) {
  if (most < static_cast<int64_t>(rows.size())) rows.resize(static_cast<size_t>(most));
}

RowDataset select(const Columns& columns, const std::vector<int64_t>& rows, SampleShape shape,
                  const InputColumns& names) {
  std::vector<int64_t> sizes = shape.inputs;
  const int64_t count = static_cast<int64_t>(rows.size());
  sizes.insert(sizes.begin(), count);
  at::Tensor inputs = at::empty(sizes, at::kFloat);
  at::Tensor targets = at::empty({count}, shape.classes > 0 ? at::kLong : at::kFloat);
  for (int64_t i = 0; i < count; ++i) {
    const float* row = columns.inputs.data() + rows[i] * columns.features;
    std::copy(row, row + columns.features, inputs.mutable_data_ptr<float>() + i * columns.features);
    if (shape.classes > 0) {
      targets.mutable_data_ptr<int64_t>()[i] = static_cast<int64_t>(columns.targets[rows[i]]);
    } else {
      targets.mutable_data_ptr<float>()[i] = columns.targets[rows[i]];
    }
  }
  return {std::move(inputs), std::move(targets), std::move(shape), names};
}

}  // namespace

RowDataset::RowDataset(at::Tensor inputs, at::Tensor targets, SampleShape shape,
                       InputColumns columns)
    : inputs_(std::move(inputs)),
      targets_(std::move(targets)),
      shape_(std::move(shape)),
      columns_(std::move(columns)) {}

Batch RowDataset::fetch(std::span<const int64_t> indices) const {
  std::vector<int64_t> sizes = shape_.inputs;
  const int64_t count = static_cast<int64_t>(indices.size());
  sizes.insert(sizes.begin(), count);
  Batch batch{at::empty(sizes, inputs_.options()),
              at::empty({count}, targets_.options()),
              {indices.begin(), indices.end()}};
  const auto copy_rows = [&](const at::Tensor& from, at::Tensor& to) {
    const size_t row_bytes = from.nbytes() / static_cast<size_t>(from.size(0));
    const char* source = static_cast<const char*>(from.const_data_ptr());
    char* target = static_cast<char*>(to.mutable_data_ptr());
    for (const int64_t index : indices) {
      std::memcpy(target, source + index * row_bytes, row_bytes);
      target += row_bytes;
    }
  };
  copy_rows(inputs_, batch.inputs);
  copy_rows(targets_, batch.targets);
  return batch;
}

RowSplit RowSplit::of(const DataOptions& options, int64_t rows) {
  int64_t first = 0, end = 0;  // positions in the permutation that evaluate
  if (options.folds) {
    if (*options.folds > rows) {
      throw Error(ErrorCode::kConfig,
                  fmt::format("data.folds: {}, but there are only {} rows", *options.folds, rows));
    }
    first = options.fold * rows / *options.folds;
    end = (options.fold + 1) * rows / *options.folds;
  } else {
    end = samples_held_out(options.validation.value_or(kDefaultShare), rows);
  }
  const Permutation shuffled(rows, options.seed);
  RowSplit split;
  for (int64_t position = 0; position < rows; ++position) {
    const bool evaluates = position >= first && position < end;
    (evaluates ? split.validation : split.train).push_back(shuffled(position));
  }
  if (options.samples) keep_first(split.train, *options.samples);
  return split;
}

RowDatasets read_rows(const DataOptions& options, int64_t most_validation) {
  const bool digits = options.kind == DataOptions::Kind::kDigits;
  const Table table = read_table(options.path, !digits && options.header);
  if (digits && table.columns != kDigitSide * kDigitSide + 1) {
    throw Error(ErrorCode::kFormat, fmt::format("{}: expected 64 pixels and a label a row, got {} "
                                                "columns",
                                                table.path, table.columns));
  }
  const int64_t target = target_column(table, digits ? "-1" : options.target);
  Columns columns = take_apart(table, target);
  InputColumns names = digits ? InputColumns() : input_columns(table, target);
  RowSplit split = RowSplit::of(options, table.rows());
  keep_first(split.validation, most_validation);

  SampleShape shape{SampleShape::Kind::kRow, {columns.features}, 0};
  const Targets targets = options.resolved_targets();
  shape.any_number = targets == Targets::kNumbers;
  if (!shape.any_number) {
    const bool binary = targets == Targets::kBinary;
    const int64_t classes = count_classes(table, columns.targets, binary);
    if (!binary) shape.classes = classes;
  }
  if (digits) {
    shape.kind = SampleShape::Kind::kImage;
    shape.inputs = {1, kDigitSide, kDigitSide};
    for (float& pixel : columns.inputs) pixel /= kLargestDigitPixel;
  } else if (options.standardise) {
    standardise(columns, split.train, names);
  }
  return {select(columns, split.train, shape, names),
          select(columns, split.validation, shape, names)};
}

std::map<std::string, std::string> input_metadata(const Dataset& data) {
  const auto* rows = dynamic_cast<const RowDataset*>(&data);
  if (rows == nullptr || rows->columns().names.empty()) return {};
  const InputColumns& columns = rows->columns();
  // The file may be in another encoding than UTF-8, which JSON is in.
  const auto text = [](const nlohmann::json& json) {
    return json.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  };
  return {{"wattle.input.columns", text(columns.names)},
          {"wattle.input.mean", text(columns.means)},
          {"wattle.input.deviation", text(columns.deviations)},
          {"wattle.target", text(columns.target)}};
}

}  // namespace wattle
