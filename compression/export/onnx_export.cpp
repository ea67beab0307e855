#include "compression/export/onnx_export.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/full.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>

#include <filesystem>

#include "common/atomic_file.h"
#include "common/error.h"
#include "compression/export/deployed_graph.h"
#include "formats/onnx.h"
#include "trainer/nn/model.h"

namespace wattle {
namespace {

constexpr const char* kInput = "input";
constexpr const char* kOutput = "output";

OnnxType type_of(const at::Tensor& values) {
  switch (values.scalar_type()) {
    case at::kChar:
      return OnnxType::kInt8;
    case at::kShort:
      return OnnxType::kInt16;
    case at::kInt:
      return OnnxType::kInt32;
    case at::kLong:
      return OnnxType::kInt64;
    case at::kFloat:
      return OnnxType::kFloat;
    default:
      throw Error(ErrorCode::kInternal, "export to onnx: a constant of another type");
  }
}

/// Codes of up to 4 bits as the file packs them; an odd last one has 0 beside it.
std::string packed(const at::Tensor& codes) {
  const int8_t* code = codes.const_data_ptr<int8_t>();
  std::string bytes((codes.numel() + 1) / 2, '\0');
  for (int64_t i = 0; i < codes.numel(); ++i) {
    bytes[i / 2] = static_cast<char>(bytes[i / 2] | (code[i] & 15) << (i % 2 * 4));
  }
  return bytes;
}

/// Turns a deployed graph into nodes and constants.
class Writer {
 public:
  explicit Writer(const DeployedGraph& graph) : graph_(graph), read_(graph.names.size()) {}

  OnnxModel write(const std::vector<int64_t>& first_weight);

 private:
  std::string constant(const std::string& name, const at::Tensor& values);
  /// Codes or zero points of a weight.
  std::string codes(const std::string& name, const at::Tensor& values, bool narrow);
  void node(const std::string& operation, std::vector<std::string> inputs,
            const std::string& output, std::vector<OnnxAttribute> attributes = {});
  /// The name that readers of a value use; its maker writes made_name().
  std::string made_name(int64_t value) const;
  void round_value(int64_t value);
  std::string weight_of(const DeployedOperation& product);
  std::string bias_of(const DeployedOperation& product);
  std::string float_bias_of(const DeployedOperation& product);
  void write_product(const DeployedOperation& product, const std::string& output);
  void write_operation(const DeployedOperation& operation);

  const DeployedGraph& graph_;
  std::vector<std::string> read_;  ///< the name under which a value is read
  bool has_one_ = false;           ///< the dequantised 1 of float_bias_of() is written
  OnnxModel model_;
};

std::string Writer::constant(const std::string& name, const at::Tensor& values) {
  const at::Tensor whole = values.detach().contiguous();
  model_.constants.push_back(
      {name, type_of(whole), whole.sizes().vec(),
       std::string(static_cast<const char*>(whole.const_data_ptr()), whole.nbytes())});
  return name;
}

void Writer::node(const std::string& operation, std::vector<std::string> inputs,
                  const std::string& output, std::vector<OnnxAttribute> attributes) {
  model_.nodes.push_back({operation, std::move(inputs), {output}, std::move(attributes)});
}

std::string Writer::made_name(int64_t value) const {
  if (value == graph_.input) return kInput;
  const bool last = value == graph_.output && !graph_.grids[value];
  return last ? kOutput : graph_.names[value];
}

/// Quantises and dequantises a value that has a grid.
void Writer::round_value(int64_t value) {
  read_[value] = made_name(value);
  const std::optional<ActivationGrid>& grid = graph_.grids[value];
  if (!grid) return;
  const std::string& name = graph_.names[value];
  const at::ScalarType type = grid->grid.bits == 8 ? at::kChar : at::kShort;
  const std::string scale = constant(name + ".scale", at::full({}, grid->scale.scale, at::kFloat));
  const std::string zero =
      constant(name + ".zero_point", at::full({}, grid->scale.zero_point, type));
  node("QuantizeLinear", {made_name(value), scale, zero}, name + ".quantized");
  read_[value] = value == graph_.output ? kOutput : name + ".dequantized";
  node("DequantizeLinear", {name + ".quantized", scale, zero}, read_[value]);
}

std::string Writer::codes(const std::string& name, const at::Tensor& values, bool narrow) {
  if (!narrow) return constant(name, values);
  model_.constants.push_back(
      {name, OnnxType::kInt4, values.sizes().vec(), packed(values.contiguous())});
  return name;
}

/// Scales of groups lie along the rows of a matrix, which filters are given their shape after.
std::string Writer::weight_of(const DeployedOperation& product) {
  const std::string name = product.name + ".weight";
  if (!product.codes) return constant(name, product.weight);
  const GridFormatOptions& format = product.format;
  const WeightScales& scales = product.codes->scales;
  const bool in_groups = format.sharing == ScaleSharing::kGroup;
  const bool narrow = format.bits <= 4;
  at::Tensor values = product.codes->codes, scale = scales.scale;
  std::vector<OnnxAttribute> attributes;
  if (in_groups) {
    values = values.flatten(1);
    scale = scale.view({values.size(0), -1});
    attributes = {{"axis", int64_t{1}}, {"block_size", format.group_size}};
  } else if (scale.numel() > 1) {
    attributes = {{"axis", int64_t{0}}};
  } else {
    scale = scale.reshape({});
  }
  const at::ScalarType type = values.scalar_type();
  const at::Tensor zero = scales.zero_point.defined()
                              ? scales.zero_point.to(type).reshape(scale.sizes())
                              : at::zeros_like(scale, type);
  const bool shaped = in_groups && product.codes->codes.dim() > 2;
  const std::string rounded = name + (shaped ? ".matrix" : ".dequantized");
  node("DequantizeLinear",
       {codes(name, values, narrow), constant(name + ".scale", scale),
        codes(name + ".zero_point", zero, narrow)},
       rounded, std::move(attributes));
  if (!shaped) return rounded;
  const at::Tensor shape = at::tensor(product.codes->codes.sizes(), at::kLong);
  node("Reshape", {rounded, constant(name + ".shape", shape)}, name + ".dequantized");
  return name + ".dequantized";
}

/// Between rounded values ONNX Runtime rounds float weights to int8 and float biases to int32 on
/// its own (WeightBiasQuantization) if the bias is a constant, or there is none. Times a
/// dequantised 1, which no optimiser folds, it is the same bits and no constant.
std::string Writer::float_bias_of(const DeployedOperation& product) {
  const std::string name = product.name + ".bias";
  const bool reads_rounded = graph_.grids[product.inputs.front()].has_value();
  if (!reads_rounded) return product.bias.defined() ? constant(name, product.bias) : "";
  if (!product.bias.defined() && product.codes) return "";
  const at::Tensor bias =
      product.bias.defined() ? product.bias : at::zeros({product.weight.size(0)}, at::kFloat);
  if (!has_one_) {
    node("DequantizeLinear",
         {constant("one.code", at::ones({}, at::kChar)), constant("one.scale", at::ones({}))},
         "one");
    has_one_ = true;
  }
  node("Mul", {constant(name, bias), "one"}, name + ".kept");
  return name + ".kept";
}

/// "" if there is none.
std::string Writer::bias_of(const DeployedOperation& product) {
  if (!product.bias_codes.defined()) return float_bias_of(product);
  const std::string name = product.name + ".bias";
  const bool per_channel = product.bias_scales.numel() > 1;
  const at::Tensor scale = per_channel ? product.bias_scales : product.bias_scales.reshape({});
  std::vector<OnnxAttribute> attributes;
  if (per_channel) attributes.emplace_back("axis", int64_t{0});
  node("DequantizeLinear", {constant(name, product.bias_codes), constant(name + ".scale", scale)},
       name + ".dequantized", std::move(attributes));
  return name + ".dequantized";
}

void Writer::write_product(const DeployedOperation& product, const std::string& output) {
  std::vector<std::string> inputs = {read_[product.inputs.front()], weight_of(product)};
  if (std::string bias = bias_of(product); !bias.empty()) inputs.push_back(std::move(bias));
  if (product.kind == OperationKind::kLinear) {
    node("Gemm", std::move(inputs), output, {{"transB", int64_t{1}}});
    return;
  }
  const int64_t p = product.padding, s = product.stride;
  node("Conv", std::move(inputs), output,
       {{"pads", std::vector<int64_t>{p, p, p, p}}, {"strides", std::vector<int64_t>{s, s}}});
}

void Writer::write_operation(const DeployedOperation& o) {
  const std::string output = made_name(o.output);
  const auto input = [&](size_t i) { return read_[o.inputs.at(i)]; };
  switch (o.kind) {
    case OperationKind::kConvolution:
    case OperationKind::kLinear:
      write_product(o, output);
      break;
    case OperationKind::kBatchNorm:
      node("BatchNormalization",
           {input(0), constant(o.name + ".weight", o.weight), constant(o.name + ".bias", o.bias),
            constant(o.name + ".running_mean", o.mean),
            constant(o.name + ".running_variance", o.variance)},
           output, {{"epsilon", static_cast<float>(o.eps)}});
      break;
    case OperationKind::kRelu:
      node("Relu", {input(0)}, output);
      break;
    case OperationKind::kAdd:
      node("Add", {input(0), input(1)}, output);
      break;
    case OperationKind::kMaxPool:
      node("MaxPool", {input(0)}, output,
           {{"kernel_shape", std::vector<int64_t>{o.window, o.window}},
            {"strides", std::vector<int64_t>{o.window, o.window}}});
      break;
    case OperationKind::kMeanPool:
      node("GlobalAveragePool", {input(0)}, output + ".plane");
      node("Flatten", {output + ".plane"}, output, {{"axis", int64_t{1}}});
      break;
  }
  round_value(o.output);
}

OnnxModel Writer::write(const std::vector<int64_t>& first_weight) {
  model_.graph_name = "wattle";
  OnnxValue input{kInput, {"batch", first_weight.at(1)}};
  if (first_weight.size() == 4) input.dims.insert(input.dims.end(), {"height", "width"});
  model_.inputs.push_back(std::move(input));
  round_value(graph_.input);
  for (const DeployedOperation& operation : graph_.operations) write_operation(operation);
  const DeployedOperation& last = graph_.operations.back();
  const at::Tensor& weight = last.codes ? last.codes->codes : last.weight;
  model_.outputs.push_back({kOutput, {"batch", weight.size(0)}});
  return std::move(model_);
}

}  // namespace

void save_onnx(const std::string& path, Model& model, const std::vector<NamedTensor>& parameters,
               const Deployment& deployment, const std::map<std::string, std::string>& metadata) {
  const at::NoGradGuard no_grad;
  const DeployedGraph graph = deployed_graph(model, parameters, deployment, "export to onnx");
  OnnxModel file = Writer(graph).write(model.weights.front().weight->value().sizes().vec());
  file.metadata = metadata;
  std::filesystem::create_directories(std::filesystem::absolute(path).parent_path());
  AtomicFile target(path);
  target.write(onnx_bytes(file));
  target.commit();
}

}  // namespace wattle
