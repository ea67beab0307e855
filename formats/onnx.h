#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <variant>
#include <vector>

namespace wattle {

// ONNX models (onnx.proto, https://github.com/onnx/onnx), as far as they are written here: one
// graph, tensors with raw little-endian data, the default operator domain.

/// TensorProto.DataType.
enum class OnnxType : int32_t {
  kFloat = 1,
  kInt8 = 3,
  kInt16 = 5,
  kInt32 = 6,
  kInt64 = 7,
  kInt4 = 22  ///< two in a byte, the first in its low half
};

/// A constant of a graph.
struct OnnxTensor {
  std::string name;
  OnnxType type = OnnxType::kFloat;
  std::vector<int64_t> dims;  ///< none: a scalar
  std::string data;           ///< little-endian, row-major
};

using OnnxAttribute = std::pair<std::string, std::variant<int64_t, float, std::vector<int64_t>>>;

struct OnnxNode {
  std::string operation;
  std::vector<std::string> inputs;
  std::vector<std::string> outputs;
  std::vector<OnnxAttribute> attributes = {};
};

/// An input or output of a graph: float32, each dimension a size or a name for any size.
struct OnnxValue {
  std::string name;
  std::vector<std::variant<int64_t, std::string>> dims;
};

struct OnnxModel {
  std::string graph_name;
  std::vector<OnnxValue> inputs;
  std::vector<OnnxValue> outputs;
  std::vector<OnnxTensor> constants;
  std::vector<OnnxNode> nodes;                  ///< each after those whose outputs it reads
  std::map<std::string, std::string> metadata;  ///< metadata_props
};

/// The version of the operators that nodes are written for: the first whose QuantizeLinear has 16
/// bits, and whose DequantizeLinear has 4 and blocks.
inline constexpr int64_t kOnnxOpset = 21;

/// The file's bytes: the same for equal models.
std::string onnx_bytes(const OnnxModel& model);

}  // namespace wattle
