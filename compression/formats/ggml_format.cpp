#include "compression/formats/ggml_format.h"

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <span>

#include "common/error.h"
#include "compression/formats/weight_checks.h"
#include "formats/gguf/ggml_blocks.h"
#include "formats/half.h"

namespace wattle {
namespace {

/// Elements that are rounded while they are in the first-level cache.
constexpr int64_t kPiece = 2048;

class GgmlFormat : public WeightFormat {
 public:
  explicit GgmlFormat(DType type)
      : type_(type), traits_(traits_of(type)), groups_(type == DType::kQ6_K ? 16 : 1) {}

  std::string name() const override {
    std::string name = traits_.name;
    std::ranges::transform(name, name.begin(), [](unsigned char c) { return std::tolower(c); });
    return "gguf:" + name;
  }

  std::optional<DType> block_type() const override { return type_; }

  std::string refusal(at::IntArrayRef shape) const override {
    if (shape.size() != 2) return fmt::format("{} holds matrices only", traits_.name);
    if (shape[1] % traits_.block_elements == 0) return "";
    return fmt::format("a row of {} values is no whole number of {}'s blocks of {}", shape[1],
                       traits_.name, traits_.block_elements);
  }

  int64_t bytes_of(at::IntArrayRef shape) const override {
    return c10::multiply_integers(shape) / traits_.block_elements * traits_.block_bytes;
  }

  bool takes_scales() const override { return false; }

  bool clips_by_its_rule() const override { return clips(type_); }

  /// A block never lies on several ranks.
  WeightScales scales_of(const at::Tensor& values, const WeightShard*) const override {
    const EncodedWeight encoded = encode(values, nullptr);
    const int64_t blocks = values.numel() / traits_.block_elements;
    at::Tensor scale = at::empty({blocks * groups_}, at::kFloat);
    float* out = scale.mutable_data_ptr<float>();
    for (int64_t i = 0; i < blocks; ++i) {
      block_scales(encoded.blocks.data() + i * traits_.block_bytes, out + i * groups_);
    }
    return {scale, {}};
  }

  void round(const at::Tensor& values, const WeightScales* scales,
             at::Tensor& rounded) const override {
    refuse_scales(scales);
    const float* x = weight_data(values);
    float* y = mutable_weight(rounded);
    in_pieces(values, [&](int64_t begin, int64_t count) {
      const auto size = static_cast<size_t>(count);
      at_place(begin, [&] { wattle::round(type_, {x + begin, size}, {y + begin, size}); });
    });
  }

  EncodedWeight encode(const at::Tensor& values, const WeightScales* scales) const override {
    refuse_scales(scales);
    const float* x = weight_data(values);
    EncodedWeight encoded;
    encoded.blocks.resize(bytes_in(values.numel()));
    in_pieces(values, [&](int64_t begin, int64_t count) {
      const auto blocks = std::span(encoded.blocks).subspan(bytes_in(begin), bytes_in(count));
      at_place(begin, [&] {
        wattle::encode(type_, {x + begin, static_cast<size_t>(count)}, blocks);
      });
    });
    return encoded;
  }

  void clip_gradient(const at::Tensor& values, const WeightScales* scales,
                     at::Tensor& gradient) const override {
    refuse_scales(scales);
    if (!clips_by_its_rule()) return;
    const float* x = weight_data(values);
    float* g = mutable_weight(gradient);
    in_pieces(values, [&](int64_t begin, int64_t count) {
      const auto size = static_cast<size_t>(count);
      at_place(begin, [&] { clip(type_, {x + begin, size}, {g + begin, size}); });
    });
  }

 private:
  size_t bytes_in(int64_t elements) const {
    return static_cast<size_t>(elements / traits_.block_elements * traits_.block_bytes);
  }

  /// The scale of each of a block's groups.
  void block_scales(const std::byte* block, float* out) const {
    const bool at_the_end = type_ == DType::kQ6_K || type_ == DType::kTQ2_0;
    const size_t at = at_the_end ? traits_.block_bytes - sizeof(uint16_t) : 0;
    uint16_t half = 0;
    std::memcpy(&half, block + at, sizeof(half));
    std::fill_n(out, groups_, float_from_f16(half));
    if (type_ != DType::kQ6_K) return;
    for (int64_t g = 0; g < groups_; ++g) {
      out[g] *= static_cast<float>(std::to_integer<int8_t>(block[at - groups_ + g]));
    }
  }

  /// Runs work(first element, elements) over whole blocks on all threads.
  template <class Work>
  void in_pieces(const at::Tensor& values, const Work& work) const {
    const int64_t numel = values.numel();
    if (numel % traits_.block_elements != 0) {
      throw Error(ErrorCode::kInternal,
                  fmt::format("{} values are no whole number of {}'s blocks", numel, traits_.name));
    }
    at::parallel_for(0, (numel + kPiece - 1) / kPiece, 8, [&](int64_t first, int64_t end) {
      for (int64_t i = first; i < end; ++i) {
        work(i * kPiece, std::min(kPiece, numel - i * kPiece));
      }
    });
  }

  /// Errors of the work tell where its piece begins.
  template <class Work>
  static void at_place(int64_t begin, const Work& work) {
    try {
      work();
    } catch (const Error& error) {
      throw Error(error.code(), fmt::format("from element {} on: {}", begin, error.what()));
    }
  }

  void refuse_scales(const WeightScales* scales) const {
    if (scales == nullptr) return;
    throw Error(ErrorCode::kInternal,
                fmt::format("{} takes no scales: they follow from each block", name()));
  }

  DType type_;
  const DTypeTraits& traits_;
  int64_t groups_;  ///< of a block, each with its scale
};

}  // namespace

std::shared_ptr<const WeightFormat> make_ggml_format(DType type) {
  constexpr std::array kTypes = {DType::kQ4_0, DType::kQ4_1, DType::kQ8_0, DType::kQ6_K,
                                 DType::kTQ2_0};
  if (std::ranges::find(kTypes, type) == kTypes.end()) {
    throw Error(ErrorCode::kUnsupported,
                fmt::format("{}: expected Q4_0, Q4_1, Q8_0, Q6_K or TQ2_0", name_of(type)));
  }
  return std::make_shared<GgmlFormat>(type);
}

}  // namespace wattle
