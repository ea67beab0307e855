#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace wattle {

/// How the elements of a stored tensor are encoded: plain numbers, in the order in which the
/// safetensors reference sorts them, or blocks of ggml. The types that this build can't decode
/// stand here as well, so that an error can name them.
// clang-format off
enum class DType {
  kBool, kU8, kI8, kF8E5M2, kF8E4M3, kI16, kU16, kF16, kBF16, kI32, kU32, kF32, kF64, kI64, kU64,
  kQ4_0, kQ4_1, kQ5_0, kQ5_1, kQ8_0, kQ2_K, kQ3_K, kQ4_K, kQ5_K, kQ6_K,
  kIQ2_XXS, kIQ2_XS, kIQ3_XXS, kIQ1_S, kIQ4_NL, kIQ3_S, kIQ2_S, kIQ4_XS, kIQ1_M,
  kTQ1_0, kTQ2_0, kMXFP4,
};
// clang-format on

/// A type's size: `block_elements` consecutive elements of a row take `block_bytes`.
struct DTypeTraits {
  DType dtype;
  const char* name;         ///< as its format spells it: "F16", "Q4_0"
  uint32_t block_elements;  ///< 1 for plain numbers
  uint32_t block_bytes;
  std::optional<uint32_t> ggml;  ///< number in a GGUF file
  bool in_safetensors;           ///< whether a safetensors file may hold it
};

const DTypeTraits& traits_of(DType dtype);
inline const char* name_of(DType dtype) { return traits_of(dtype).name; }
std::optional<DType> dtype_of_ggml(uint32_t number);
std::optional<DType> dtype_of_safetensors(std::string_view name);

/// What a tensor is: its shape is in torch order, the contiguous dimension last; {} is a scalar.
struct TensorSpec {
  std::string name;
  DType dtype = DType::kF32;
  std::vector<int64_t> shape;
};

/// Elements of a shape and bytes of a tensor. Nothing if a dimension is negative, the product
/// overflows 63 bits, or a row is no whole number of blocks.
std::optional<uint64_t> element_count(std::span<const int64_t> shape);
std::optional<uint64_t> byte_count(DType dtype, std::span<const int64_t> shape);

/// "[49152, 576]", for messages.
std::string shape_text(std::span<const int64_t> shape);

/// A tensor in memory, usually in a mapped file. `bytes` may begin at any alignment: read them with
/// memcpy or the codecs of ggml_blocks.h.
struct TensorView : TensorSpec {
  std::span<const std::byte> bytes;
};

/// Tensors with distinct names, in the order of their file.
class TensorTable {
 public:
  /// False, and nothing is added, if the name is taken.
  bool add(TensorView tensor);
  std::span<const TensorView> all() const { return tensors_; }
  /// nullptr if there is none of this name. Valid until the next add().
  const TensorView* find(std::string_view name) const;
  size_t size() const { return tensors_.size(); }

 private:
  struct Hash : std::hash<std::string_view> {
    using is_transparent = void;
  };
  std::vector<TensorView> tensors_;
  std::unordered_map<std::string, size_t, Hash, std::equal_to<>> by_name_;
};

}  // namespace wattle
