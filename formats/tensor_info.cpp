#include "formats/tensor_info.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <limits>
#include <utility>

#include "common/error.h"

namespace wattle {
namespace {

constexpr auto kNone = std::nullopt;

/// In the order of the enumeration. Sources: ggml.h and ggml-common.h; the safetensors README.
constexpr DTypeTraits kTraits[] = {
    {DType::kBool, "BOOL", 1, 1, kNone, true},
    {DType::kU8, "U8", 1, 1, kNone, true},
    {DType::kI8, "I8", 1, 1, 24, true},
    {DType::kF8E5M2, "F8_E5M2", 1, 1, kNone, true},
    {DType::kF8E4M3, "F8_E4M3", 1, 1, kNone, true},
    {DType::kI16, "I16", 1, 2, 25, true},
    {DType::kU16, "U16", 1, 2, kNone, true},
    {DType::kF16, "F16", 1, 2, 1, true},
    {DType::kBF16, "BF16", 1, 2, 30, true},
    {DType::kI32, "I32", 1, 4, 26, true},
    {DType::kU32, "U32", 1, 4, kNone, true},
    {DType::kF32, "F32", 1, 4, 0, true},
    {DType::kF64, "F64", 1, 8, 28, true},
    {DType::kI64, "I64", 1, 8, 27, true},
    {DType::kU64, "U64", 1, 8, kNone, true},
    {DType::kQ4_0, "Q4_0", 32, 18, 2, false},
    {DType::kQ4_1, "Q4_1", 32, 20, 3, false},
    {DType::kQ5_0, "Q5_0", 32, 22, 6, false},
    {DType::kQ5_1, "Q5_1", 32, 24, 7, false},
    {DType::kQ8_0, "Q8_0", 32, 34, 8, false},
    {DType::kQ2_K, "Q2_K", 256, 84, 10, false},
    {DType::kQ3_K, "Q3_K", 256, 110, 11, false},
    {DType::kQ4_K, "Q4_K", 256, 144, 12, false},
    {DType::kQ5_K, "Q5_K", 256, 176, 13, false},
    {DType::kQ6_K, "Q6_K", 256, 210, 14, false},
    {DType::kIQ2_XXS, "IQ2_XXS", 256, 66, 16, false},
    {DType::kIQ2_XS, "IQ2_XS", 256, 74, 17, false},
    {DType::kIQ3_XXS, "IQ3_XXS", 256, 98, 18, false},
    {DType::kIQ1_S, "IQ1_S", 256, 50, 19, false},
    {DType::kIQ4_NL, "IQ4_NL", 32, 18, 20, false},
    {DType::kIQ3_S, "IQ3_S", 256, 110, 21, false},
    {DType::kIQ2_S, "IQ2_S", 256, 82, 22, false},
    {DType::kIQ4_XS, "IQ4_XS", 256, 136, 23, false},
    {DType::kIQ1_M, "IQ1_M", 256, 56, 29, false},
    {DType::kTQ1_0, "TQ1_0", 256, 54, 34, false},
    {DType::kTQ2_0, "TQ2_0", 256, 66, 35, false},
    {DType::kMXFP4, "MXFP4", 32, 17, 39, false},
};

constexpr bool in_order() {
  for (size_t i = 0; i < std::size(kTraits); ++i) {
    if (static_cast<size_t>(kTraits[i].dtype) != i) return false;
  }
  return true;
}
static_assert(in_order());

}  // namespace

const DTypeTraits& traits_of(DType dtype) {
  const auto index = static_cast<size_t>(dtype);
  if (index >= std::size(kTraits)) throw Error(ErrorCode::kInternal, "unknown tensor type");
  return kTraits[index];
}

std::optional<DType> dtype_of_ggml(uint32_t number) {
  for (const DTypeTraits& traits : kTraits) {
    if (traits.ggml == number) return traits.dtype;
  }
  return std::nullopt;
}

std::optional<DType> dtype_of_safetensors(std::string_view name) {
  for (const DTypeTraits& traits : kTraits) {
    if (traits.in_safetensors && traits.name == name) return traits.dtype;
  }
  return std::nullopt;
}

std::optional<uint64_t> element_count(std::span<const int64_t> shape) {
  constexpr int64_t kLargest = std::numeric_limits<int64_t>::max();
  int64_t count = 1;
  bool empty = false;
  for (const int64_t size : shape) {
    if (size < 0) return std::nullopt;
    if (size == 0) {
      empty = true;
      continue;
    }
    if (count > kLargest / size) return std::nullopt;
    count *= size;
  }
  return empty ? 0 : static_cast<uint64_t>(count);
}

std::optional<uint64_t> byte_count(DType dtype, std::span<const int64_t> shape) {
  const DTypeTraits& traits = traits_of(dtype);
  const std::optional<uint64_t> elements = element_count(shape);
  if (!elements) return std::nullopt;
  const int64_t row = shape.empty() ? 1 : shape.back();
  if (row % traits.block_elements != 0) return std::nullopt;
  const uint64_t blocks = *elements / traits.block_elements;
  constexpr uint64_t kLargest = std::numeric_limits<int64_t>::max();
  if (blocks > kLargest / traits.block_bytes) return std::nullopt;
  return blocks * traits.block_bytes;
}

std::string shape_text(std::span<const int64_t> shape) {
  return fmt::format("[{}]", fmt::join(shape, ", "));
}

bool TensorTable::add(TensorView tensor) {
  if (!by_name_.emplace(tensor.name, tensors_.size()).second) return false;
  tensors_.push_back(std::move(tensor));
  return true;
}

const TensorView* TensorTable::find(std::string_view name) const {
  const auto found = by_name_.find(name);
  return found == by_name_.end() ? nullptr : &tensors_[found->second];
}

}  // namespace wattle
