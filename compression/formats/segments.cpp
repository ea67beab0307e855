#include "compression/formats/segments.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>
#include <fmt/format.h>

#include "common/error.h"
#include "compression/formats/weight_checks.h"

namespace wattle {
namespace {

/// Of ranges the largest and the smallest, so that no rank goes on with values that aren't finite.
void join_over_ranks(std::vector<ValueRange>& ranges, Communicator& ranks) {
  at::Tensor maxima = at::empty({static_cast<int64_t>(ranges.size()), 3}, at::kFloat);
  float* most = maxima.mutable_data_ptr<float>();
  for (const ValueRange& range : ranges) {
    *most++ = -range.smallest;
    *most++ = range.largest;
    *most++ = range.finite ? 0 : 1;
  }
  ranks.all_reduce(maxima, ReduceOp::kMax);
  most = maxima.mutable_data_ptr<float>();
  for (ValueRange& range : ranges) {
    range = {-most[0], most[1], most[2] == 0};
    most += 3;
  }
}

}  // namespace

std::vector<ValueRange> ranges_of_segments(const at::Tensor& values, int64_t segment,
                                           Communicator* ranks) {
  const float* x = weight_data(values);
  const Segments segments(values.numel(), segment);
  std::vector<ValueRange> parts(segments.count * segments.pieces);
  segments.each_piece([&](int64_t piece, int64_t, int64_t first, int64_t count) {
    parts[piece] = range_of_values(x + first, count);
  });
  std::vector<ValueRange> ranges(segments.count);
  for (size_t i = 0; i < parts.size(); ++i) {
    ValueRange& range = ranges[i / segments.pieces];
    range = joined(range, parts[i]);
  }
  const std::vector<ValueRange> here = ranges;
  if (ranks != nullptr) join_over_ranks(ranges, *ranks);
  for (int64_t i = 0; i < segments.count; ++i) {
    if (ranges[i].finite) continue;
    throw Error(
        ErrorCode::kNonFinite,
        fmt::format("elements {} to {}{}: one is not finite", i * segment, (i + 1) * segment - 1,
                    here[i].finite ? " or their like elsewhere" : ""));
  }
  return ranges;
}

std::vector<double> magnitudes_of_segments(const at::Tensor& values, int64_t segment,
                                           const std::vector<ValueRange>& ranges,
                                           Communicator* ranks) {
  const float* x = weight_data(values);
  const Segments segments(values.numel(), segment);
  std::vector<int64_t> parts(segments.count * segments.pieces);
  segments.each_piece([&](int64_t piece, int64_t i, int64_t first, int64_t count) {
    parts[piece] = magnitudes_in_steps(x + first, count, magnitude_step(ranges[i]));
  });
  std::vector<int64_t> sums = segments.joined_pieces(parts);
  sum_over_ranks(sums, ranks);
  std::vector<double> magnitudes(segments.count);
  for (int64_t i = 0; i < segments.count; ++i) {
    magnitudes[i] = static_cast<double>(sums[i]) * magnitude_step(ranges[i]);
  }
  return magnitudes;
}

void sum_over_ranks(std::vector<int64_t>& numbers, Communicator* ranks) {
  if (ranks == nullptr) return;
  at::Tensor tensor =
      at::from_blob(numbers.data(), {static_cast<int64_t>(numbers.size())}, at::kLong);
  ranks->all_reduce(tensor, ReduceOp::kSum);
}

}  // namespace wattle
