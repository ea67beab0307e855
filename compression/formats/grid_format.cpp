#include "compression/formats/grid_format.h"

#include <ATen/ops/empty.h>
#include <c10/util/accumulate.h>
#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <regex>

#include "common/error.h"
#include "compression/formats/grid_kernels.h"
#include "compression/formats/segments.h"
#include "compression/formats/weight_checks.h"
#include "compression/formats/weight_shard.h"

namespace wattle {
namespace {

using Kind = GridFormatOptions::Kind;

constexpr float kLargestFp8 = 448.0f;

Error not_finite(int64_t begin, int64_t count) {
  return Error(ErrorCode::kNonFinite,
               fmt::format("{} values from element {} on: one is not finite", count, begin));
}

/// Steps of a symmetric grid from 0 to the largest magnitude.
float steps_to_the_end(const GridFormatOptions& o) {
  const auto high = static_cast<float>(code_range(o).high);
  return o.bits >= 8 ? high : high + 0.5f;
}

IntegerRule rule_of(const GridFormatOptions& o) {
  const CodeRange codes = code_range(o);
  return {o.symmetric, steps_to_the_end(o), static_cast<float>(codes.low),
          static_cast<float>(codes.high)};
}

class GridFormat : public WeightFormat {
 public:
  explicit GridFormat(const GridFormatOptions& options)
      : options_(options), range_(code_range(options)) {}

  std::string name() const override { return grid_format_name(options_); }
  const GridFormatOptions* grid() const override { return &options_; }
  std::string refusal(at::IntArrayRef shape) const override;
  int64_t bytes_of(at::IntArrayRef shape) const override;
  bool takes_scales() const override { return true; }
  /// The grids of extremes reach as far as the values.
  bool clips_by_its_rule() const override { return options_.kind == Kind::kTernary; }
  WeightScales scales_of(const at::Tensor& values, const WeightShard* shard) const override;
  void round(const at::Tensor& values, const WeightScales* scales,
             at::Tensor& rounded) const override;
  EncodedWeight encode(const at::Tensor& values, const WeightScales* scales) const override;
  void clip_gradient(const at::Tensor& values, const WeightScales* scales,
                     at::Tensor& gradient) const override;

 private:
  using Grid = SegmentGrid;
  bool is_fp8() const { return options_.kind == Kind::kFp8; }
  Grid grid_of(const ValueRange& range, double mean_magnitude) const;
  Grid grid_of_values(const float* x, int64_t count) const;
  std::vector<Grid> grids_of(const at::Tensor& values, const WeightScales* scales) const;
  IntegerGrid integers_of(const Grid& grid) const {
    return {grid.scale, grid.zero, static_cast<float>(range_.low), static_cast<float>(range_.high)};
  }
  void round_segments(const Segments& segments, const float* x, float* y) const;
  /// work(grid, first value, count), false if a value is not finite, on all threads.
  template <class Work>
  void in_pieces(const at::Tensor& values, const WeightScales* scales, const Work& work) const;

  GridFormatOptions options_;
  CodeRange range_;
};

std::string GridFormat::refusal(at::IntArrayRef shape) const {
  if (shape.size() < 2) return fmt::format("{} holds matrices and filters only", name());
  if (options_.sharing != ScaleSharing::kGroup) return "";
  const int64_t row = c10::multiply_integers(shape.slice(1));
  if (row % options_.group_size == 0) return "";
  return fmt::format("a row of {} values is no whole number of groups of {}", row,
                     options_.group_size);
}

int64_t GridFormat::bytes_of(at::IntArrayRef shape) const {
  const int64_t numel = c10::multiply_integers(shape);
  const int64_t bits = options_.kind == Kind::kTernary ? 2 : is_fp8() ? 8 : options_.bits;
  const int64_t segments = numel / segment_size(options_, shape);
  const int64_t zero_points = options_.symmetric ? 0 : segments;
  return (numel * bits + 7) / 8 + segments * static_cast<int64_t>(sizeof(float)) +
         (zero_points * bits + 7) / 8;
}

GridFormat::Grid GridFormat::grid_of(const ValueRange& range, double mean_magnitude) const {
  if (options_.kind == Kind::kInteger) {
    return grid_of_range(options_, range.smallest, range.largest);
  }
  Grid grid;
  grid.scale = is_fp8() ? std::max(-range.smallest, range.largest) / kLargestFp8
                        : static_cast<float>(mean_magnitude);
  if (!(grid.scale > 0)) grid.scale = 1;
  return grid;
}

/// Of a whole segment that is no longer than a piece.
GridFormat::Grid GridFormat::grid_of_values(const float* x, int64_t count) const {
  const ValueRange range = range_of_values(x, count);
  if (options_.kind != Kind::kTernary) return grid_of(range, 0);
  if (!range.finite) return {};  // whoever rounds will see it
  const double step = magnitude_step(range);
  const auto steps = static_cast<double>(magnitudes_in_steps(x, count, step));
  return grid_of(range, steps * step / static_cast<double>(count));
}

WeightScales GridFormat::scales_of(const at::Tensor& values, const WeightShard* shard) const {
  const bool shared = shard != nullptr && shares_scales(*this, values.sizes(), *shard);
  Communicator* ranks = shared ? shard->ranks : nullptr;
  const int64_t segment = segment_size(options_, values.sizes());
  const int64_t whole =
      segment_size(options_, shared ? whole_shape(values.sizes(), *shard) : values.sizes().vec());
  const std::vector<ValueRange> ranges = ranges_of_segments(values, segment, ranks);
  std::vector<double> magnitudes(ranges.size());
  if (options_.kind == Kind::kTernary) {
    magnitudes = magnitudes_of_segments(values, segment, ranges, ranks);
  }
  const auto segments = static_cast<int64_t>(ranges.size());
  WeightScales scales{at::empty({segments}, at::kFloat), {}};
  if (!options_.symmetric) scales.zero_point = at::empty({segments}, at::kInt);
  for (int64_t i = 0; i < segments; ++i) {
    const Grid grid = grid_of(ranges[i], magnitudes[i] / static_cast<double>(whole));
    scales.scale.mutable_data_ptr<float>()[i] = grid.scale;
    if (options_.symmetric) continue;
    scales.zero_point.mutable_data_ptr<int32_t>()[i] = static_cast<int32_t>(grid.zero);
  }
  return scales;
}

std::vector<GridFormat::Grid> GridFormat::grids_of(const at::Tensor& values,
                                                   const WeightScales* scales) const {
  const int64_t segments = values.numel() / segment_size(options_, values.sizes());
  if (scales->scale.numel() != segments) {
    throw Error(ErrorCode::kInternal, fmt::format("{}: {} scales for {} segments", name(),
                                                  scales->scale.numel(), segments));
  }
  std::vector<Grid> grids(segments);
  for (int64_t i = 0; i < segments; ++i) {
    grids[i].scale = scales->scale.const_data_ptr<float>()[i];
    if (!scales->zero_point.defined()) continue;
    grids[i].zero = static_cast<float>(scales->zero_point.const_data_ptr<int32_t>()[i]);
  }
  return grids;
}

template <class Work>
void GridFormat::in_pieces(const at::Tensor& values, const WeightScales* scales,
                           const Work& work) const {
  const float* x = weight_data(values);
  const Segments segments(values.numel(), segment_size(options_, values.sizes()));
  const bool follows = scales == nullptr && segments.pieces == 1;
  std::vector<Grid> grids;
  if (!follows) {
    const WeightScales found = scales ? *scales : scales_of(values, nullptr);
    grids = grids_of(values, &found);
  }
  std::atomic<int64_t> broken = -1;
  segments.each_piece([&](int64_t, int64_t segment, int64_t begin, int64_t count) {
    // A segment that is in the cache gives its scale and is rounded in one go.
    const Grid grid = follows ? grid_of_values(x + begin, count) : grids[segment];
    if (!work(grid, begin, count)) broken = begin;
  });
  if (broken < 0) return;
  throw not_finite(broken, std::min(kPieceValues, segments.size));
}

/// Segments of integers by their extremes, many at once: each is in the cache for both looks at it.
void GridFormat::round_segments(const Segments& segments, const float* x, float* y) const {
  const IntegerRule rule = rule_of(options_);
  const int64_t size = segments.size;
  const auto round = [&](int64_t first, int64_t end) {
    const int64_t begin = first * size;
    const int64_t broken =
        round_segments_to_integers(x + begin, y + begin, end - first, size, rule);
    if (first + broken < end) throw not_finite(begin + broken * size, size);
  };
  at::parallel_for(0, segments.count, std::max<int64_t>(1, kPieceValues / size), round);
}

void GridFormat::round(const at::Tensor& values, const WeightScales* scales,
                       at::Tensor& rounded) const {
  const float* x = weight_data(values);
  float* y = mutable_weight(rounded);
  const Segments segments(values.numel(), segment_size(options_, values.sizes()));
  if (options_.kind == Kind::kInteger && scales == nullptr && segments.pieces == 1) {
    return round_segments(segments, x, y);
  }
  in_pieces(values, scales, [&](const Grid& grid, int64_t begin, int64_t count) {
    if (x != y) std::copy_n(x + begin, count, y + begin);  // the piece is in the cache
    return is_fp8() ? round_to_fp8(y + begin, count, grid.scale)
                    : round_to_integers(y + begin, count, integers_of(grid));
  });
}

EncodedWeight GridFormat::encode(const at::Tensor& values, const WeightScales* scales) const {
  const float* x = weight_data(values);
  EncodedWeight encoded;
  encoded.scales = scales ? *scales : scales_of(values, nullptr);
  const bool wide = options_.kind == Kind::kInteger && options_.bits == 16;
  encoded.codes = at::empty(values.sizes(), wide ? at::kShort : at::kChar);
  void* codes = encoded.codes.mutable_data_ptr();
  in_pieces(values, &encoded.scales, [&](const Grid& grid, int64_t begin, int64_t count) {
    if (is_fp8()) {
      return fp8_codes(x + begin, static_cast<uint8_t*>(codes) + begin, count, grid.scale);
    }
    if (wide) {
      return integer_codes(x + begin, static_cast<int16_t*>(codes) + begin, count,
                           integers_of(grid));
    }
    std::vector<int16_t> narrow(count);
    const bool finite = integer_codes(x + begin, narrow.data(), count, integers_of(grid));
    std::ranges::copy(narrow, static_cast<int8_t*>(codes) + begin);
    return finite;
  });
  return encoded;
}

void GridFormat::clip_gradient(const at::Tensor& values, const WeightScales* scales,
                               at::Tensor& gradient) const {
  if (scales == nullptr && !clips_by_its_rule()) return;
  const float* x = weight_data(values);
  float* g = mutable_weight(gradient);
  in_pieces(values, scales, [&](const Grid& grid, int64_t begin, int64_t count) {
    const IntegerGrid ends =
        is_fp8() ? IntegerGrid{grid.scale, 0, -kLargestFp8, kLargestFp8} : integers_of(grid);
    clip_to_integers(x + begin, g + begin, count, ends);
    return true;
  });
}

constexpr const char* kSharings[] = {"tensor", "channel", "group"};

}  // namespace

std::shared_ptr<const WeightFormat> make_grid_format(const GridFormatOptions& options) {
  return std::make_shared<GridFormat>(options);
}

SegmentGrid grid_of_range(const GridFormatOptions& options, float low, float high) {
  const IntegerGrid grid = grid_of_extremes(rule_of(options), low, high);
  return {grid.scale, grid.zero};
}

std::pair<float, float> range_of_grid(const GridFormatOptions& options, const SegmentGrid& grid) {
  const float end = grid.scale * steps_to_the_end(options);
  if (options.symmetric) return {-end, end};
  const CodeRange codes = code_range(options);
  return {(static_cast<float>(codes.low) - grid.zero) * grid.scale,
          (static_cast<float>(codes.high) - grid.zero) * grid.scale};
}

CodeRange code_range(const GridFormatOptions& o) {
  if (o.kind == Kind::kTernary) return {-1, 1};
  const int64_t half = int64_t{1} << (o.bits - 1);
  return {o.symmetric && o.bits >= 8 ? 1 - half : -half, half - 1};
}

std::string grid_format_name(const GridFormatOptions& o) {
  std::string name = o.kind == Kind::kTernary ? "ternary"
                     : o.kind == Kind::kFp8   ? "fp8"
                                              : fmt::format("int{}", o.bits);
  name += fmt::format(":{}", kSharings[static_cast<int>(o.sharing)]);
  if (o.sharing == ScaleSharing::kGroup) name += std::to_string(o.group_size);
  return o.symmetric ? name : name + ":asymmetric";
}

std::optional<GridFormatOptions> parse_grid_format(const std::string& name) {
  static const std::regex pattern(
      "(ternary|fp8|int(2|4|8|16)):(tensor|channel|group([1-9][0-9]{0,8}))(:asymmetric)?");
  std::smatch match;
  if (!std::regex_match(name, match, pattern)) return std::nullopt;
  GridFormatOptions options;
  options.kind = match[1] == "ternary" ? Kind::kTernary
                 : match[1] == "fp8"   ? Kind::kFp8
                                       : Kind::kInteger;
  if (match[2].matched) options.bits = std::stoll(match[2]);
  options.sharing = match[3] == "tensor"    ? ScaleSharing::kTensor
                    : match[3] == "channel" ? ScaleSharing::kChannel
                                            : ScaleSharing::kGroup;
  if (match[4].matched) options.group_size = std::stoll(match[4]);
  options.symmetric = !match[5].matched;
  if (!options.symmetric && options.kind != Kind::kInteger) return std::nullopt;
  return options;
}

int64_t segment_size(const GridFormatOptions& options, at::IntArrayRef shape) {
  switch (options.sharing) {
    case ScaleSharing::kTensor:
      return c10::multiply_integers(shape);
    case ScaleSharing::kChannel:
      return c10::multiply_integers(shape.slice(1));
    case ScaleSharing::kGroup:
      return options.group_size;
  }
  throw Error(ErrorCode::kInternal, "unknown sharing of scales");
}

}  // namespace wattle
