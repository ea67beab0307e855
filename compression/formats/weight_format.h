#pragma once

#include <ATen/core/Tensor.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "formats/tensor_info.h"

namespace wattle {

struct GridFormatOptions;
struct WeightShard;

/// The grid of each segment of a weight: value = (code - zero_point) * scale. A segment is a run of
/// neighbours in row-major order: a block or group of a row, a row (an output channel), or all of
/// the tensor.
struct WeightScales {
  at::Tensor scale;       ///< [segments] float32
  at::Tensor zero_point;  ///< [segments] int32; undefined: all are 0
};

/// A weight as its file holds it: bytes of a ggml type, or codes with their scales.
struct EncodedWeight {
  std::vector<std::byte> blocks;  ///< of WeightFormat::block_type()
  at::Tensor codes;               ///< int8 or int16 in the weight's shape; fp8: its bits as int8
  WeightScales scales;
};

/// How the numbers of a weight lie in a deployed file, and with which rounding they get there.
///
/// One format serves training and export: fake_quantise() leaves exactly what a reader of
/// encode()'s bytes decodes, in float32. Rows are whole: a segment never goes over the end of a row
/// unless it is the whole tensor, so that splitting a weight by rows changes nothing but for
/// "tensor" scales. Of a weight that is split otherwise, weight_shard.h says where it may be cut
/// and which scales must be given.
///
/// Weights are float32, contiguous, on the CPU. Every operation works on all threads that LibTorch
/// has, and its result doesn't depend on how many there are. Pure: any thread may call. Throws
/// Error(kNonFinite) that names the place for values that have no encoding.
class WeightFormat {
 public:
  virtual ~WeightFormat() = default;

  /// As make_weight_format() reads it: "gguf:q4_0", "int8:channel", "int4:group32:asymmetric".
  virtual std::string name() const = 0;

  /// The ggml type whose blocks encode() makes; none if it makes codes.
  virtual std::optional<DType> block_type() const { return std::nullopt; }

  /// Of codes with scales beside them (grid_format.h): what kind; null for a ggml type.
  virtual const GridFormatOptions* grid() const { return nullptr; }

  /// "" or why a weight of this shape can't be held.
  virtual std::string refusal(at::IntArrayRef shape) const = 0;

  /// In the file, scales and zero points included.
  virtual int64_t bytes_of(at::IntArrayRef shape) const = 0;

  /// Whether scales may be given, frozen or learned. If not, each segment's follow from its values
  /// at every rounding, as the format's own rule says.
  virtual bool takes_scales() const = 0;

  /// Whether values lie beyond the ends of the grids that the format's own rule gives them.
  virtual bool clips_by_its_rule() const = 0;

  /// The scales that the format's own rule gives these values. Those of a part of a weight are
  /// the whole weight's, to the last bit; collective where shares_scales() (weight_shard.h).
  WeightScales scales_of(const at::Tensor& values) const { return scales_of(values, nullptr); }
  virtual WeightScales scales_of(const at::Tensor& values, const WeightShard* shard) const = 0;

  /// Rounds `values` into `rounded`, of the same shape; they may be the same. One pass over memory.
  /// Without `scales`: by those of scales_of(values).
  virtual void round(const at::Tensor& values, const WeightScales* scales,
                     at::Tensor& rounded) const = 0;
  void fake_quantise(at::Tensor& values, const WeightScales* scales = nullptr) const {
    round(values, scales, values);
  }

  /// What fake_quantise() rounds to, as the file holds it.
  virtual EncodedWeight encode(const at::Tensor& values,
                               const WeightScales* scales = nullptr) const = 0;

  /// Straight-through gradient with clipping: 0 where the value lies beyond the ends of its grid,
  /// unchanged elsewhere. `gradient` has the shape of `values`.
  virtual void clip_gradient(const at::Tensor& values, const WeightScales* scales,
                             at::Tensor& gradient) const = 0;
};

/// The format of a name. Throws Error(kConfig) that lists the names.
std::shared_ptr<const WeightFormat> make_weight_format(const std::string& name);

/// What rounding did to one weight.
struct QuantizationFigures {
  double mean_scale = 0;
  double clipped_share = 0;       ///< of the values, beyond the ends of their grid
  double signal_to_noise_db = 0;  ///< 10 log10(sum x^2 / sum (x - rounded)^2)
  double bits_per_weight = 0;     ///< in the file, scales included
  int64_t bytes = 0;              ///< in the file
};

QuantizationFigures figures_of(const WeightFormat& format, const at::Tensor& values,
                               const WeightScales* scales = nullptr);

}  // namespace wattle
