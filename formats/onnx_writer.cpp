#include <protozero/pbf_writer.hpp>

#include "formats/onnx.h"

namespace wattle {
namespace {

using protozero::pbf_writer;

/// The first version of the file that knows opset 21.
constexpr int64_t kIrVersion = 10;

// The numbers of the fields in onnx.proto.
namespace model_field {
constexpr int kIrVersion = 1, kProducer = 2, kGraph = 7, kOpset = 8, kMetadata = 14;
}
namespace graph_field {
constexpr int kNode = 1, kName = 2, kConstant = 5, kInput = 11, kOutput = 12;
}
namespace node_field {
constexpr int kInput = 1, kOutput = 2, kName = 3, kOperation = 4, kAttribute = 5;
}
namespace attribute_field {
constexpr int kName = 1, kFloat = 2, kInteger = 3, kIntegers = 8, kType = 20;
}
namespace tensor_field {
constexpr int kDims = 1, kType = 2, kName = 8, kData = 9;
}

/// AttributeProto.AttributeType, by the alternative of the value.
constexpr int32_t kAttributeTypes[] = {2, 1, 7};

void write_attribute(pbf_writer& node, const OnnxAttribute& attribute) {
  const auto& [name, value] = attribute;
  pbf_writer field(node, node_field::kAttribute);
  field.add_string(attribute_field::kName, name);
  if (const auto* integer = std::get_if<int64_t>(&value)) {
    field.add_int64(attribute_field::kInteger, *integer);
  } else if (const auto* number = std::get_if<float>(&value)) {
    field.add_float(attribute_field::kFloat, *number);
  } else {
    for (const int64_t element : std::get<std::vector<int64_t>>(value)) {
      field.add_int64(attribute_field::kIntegers, element);
    }
  }
  field.add_enum(attribute_field::kType, kAttributeTypes[value.index()]);
}

void write_node(pbf_writer& graph, const OnnxNode& node) {
  pbf_writer field(graph, graph_field::kNode);
  for (const std::string& input : node.inputs) field.add_string(node_field::kInput, input);
  for (const std::string& output : node.outputs) field.add_string(node_field::kOutput, output);
  field.add_string(node_field::kName, node.outputs.front());
  field.add_string(node_field::kOperation, node.operation);
  for (const OnnxAttribute& attribute : node.attributes) write_attribute(field, attribute);
}

void write_constant(pbf_writer& graph, const OnnxTensor& tensor) {
  pbf_writer field(graph, graph_field::kConstant);
  for (const int64_t dim : tensor.dims) field.add_int64(tensor_field::kDims, dim);
  field.add_int32(tensor_field::kType, static_cast<int32_t>(tensor.type));
  field.add_string(tensor_field::kName, tensor.name);
  field.add_bytes(tensor_field::kData, tensor.data);
}

/// ValueInfoProto: a name, and a TypeProto with a tensor_type of float32 and its shape.
void write_value(pbf_writer& graph, int number, const OnnxValue& value) {
  pbf_writer field(graph, number);
  field.add_string(1, value.name);
  pbf_writer type(field, 2);
  pbf_writer tensor(type, 1);
  tensor.add_int32(1, static_cast<int32_t>(OnnxType::kFloat));
  pbf_writer shape(tensor, 2);
  for (const auto& dim : value.dims) {
    pbf_writer dimension(shape, 1);
    if (const auto* size = std::get_if<int64_t>(&dim)) {
      dimension.add_int64(1, *size);
    } else {
      dimension.add_string(2, std::get<std::string>(dim));
    }
  }
}

void write_graph(pbf_writer& file, const OnnxModel& model) {
  pbf_writer graph(file, model_field::kGraph);
  for (const OnnxNode& node : model.nodes) write_node(graph, node);
  graph.add_string(graph_field::kName, model.graph_name);
  for (const OnnxTensor& tensor : model.constants) write_constant(graph, tensor);
  for (const OnnxValue& value : model.inputs) write_value(graph, graph_field::kInput, value);
  for (const OnnxValue& value : model.outputs) write_value(graph, graph_field::kOutput, value);
}

}  // namespace

std::string onnx_bytes(const OnnxModel& model) {
  std::string bytes;
  pbf_writer file(bytes);
  file.add_int64(model_field::kIrVersion, kIrVersion);
  file.add_string(model_field::kProducer, "wattle");
  write_graph(file, model);
  {
    pbf_writer opset(file, model_field::kOpset);
    opset.add_string(1, "");
    opset.add_int64(2, kOnnxOpset);
  }
  for (const auto& [key, text] : model.metadata) {
    pbf_writer entry(file, model_field::kMetadata);
    entry.add_string(1, key);
    entry.add_string(2, text);
  }
  return bytes;
}

}  // namespace wattle
