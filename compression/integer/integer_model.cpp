#include "compression/integer/integer_model.h"

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/round.h>
#include <fmt/format.h>

#include <algorithm>
#include <limits>

#include "common/error.h"

namespace wattle {
namespace {

[[noreturn]] void refuse(const std::string& layer, const std::string& what) {
  throw Error(ErrorCode::kUnsupported,
              fmt::format("evaluation with integers: {}: {}", layer, what));
}

bool is_product(OperationKind kind) {
  return kind == OperationKind::kConvolution || kind == OperationKind::kLinear;
}

ConvolutionShape shape_of(const DeployedOperation& o, at::IntArrayRef input) {
  return {input[1], input[2], input[3], o.codes->codes.size(2), o.stride, o.padding};
}

int8_t* sample_of(at::Tensor& values, int64_t sample) {
  return values.mutable_data_ptr<int8_t>() + sample * (values.numel() / values.size(0));
}

const int8_t* sample_of(const at::Tensor& values, int64_t sample) {
  return values.const_data_ptr<int8_t>() + sample * (values.numel() / values.size(0));
}

}  // namespace

IntegerModel::IntegerModel(DeployedGraph graph) : graph_(std::move(graph)) {
  if (!graph_.grids[graph_.input]) refuse("input", "is not quantised");
  for (size_t i = 0; i < graph_.grids.size(); ++i) {
    if (graph_.grids[i] && graph_.grids[i]->grid.bits != 8) {
      refuse(graph_.names[i], "its activations have 16 bits, expected 8");
    }
  }
  for (const DeployedOperation& operation : graph_.operations) {
    const bool done = std::ranges::any_of(
        steps_, [&](const Step& step) { return step.output == operation.output; });
    if (!done) add_step(operation);
  }
}

void IntegerModel::check_product(const DeployedOperation& o) const {
  if (!o.codes) refuse(o.name, "its weight is not quantised");
  if (o.codes->codes.scalar_type() != at::kChar) refuse(o.name, "its weight has 16 bits");
  if (o.codes->scales.zero_point.defined()) refuse(o.name, "its weight has zero points");
  if (o.codes->scales.scale.numel() > 1 && o.format.sharing == ScaleSharing::kGroup) {
    refuse(o.name, "its weight has scales in groups, expected one for each output or for all");
  }
  if (o.bias.defined() && !o.bias_codes.defined()) {
    refuse(o.name,
           "its bias has values that don't fit into int32 in steps of its input's scale "
           "times its weight's");
  }
  const int64_t columns = o.codes->codes.numel() / o.codes->codes.size(0);
  int64_t bias = 0;
  if (o.bias_codes.defined()) bias = o.bias_codes.to(at::kLong).abs().max().item<int64_t>();
  if (columns * 255 * 127 + bias > std::numeric_limits<int32_t>::max()) {
    refuse(o.name, fmt::format("sums of {} products and a bias of up to {} steps may leave int32",
                               columns, bias));
  }
}

void IntegerModel::add_step(const DeployedOperation& operation) {
  Step step{.operation = &operation, .output = operation.output};
  const std::string& name =
      operation.name.empty() ? graph_.names[operation.output] : operation.name;
  if (operation.kind == OperationKind::kRelu || operation.kind == OperationKind::kBatchNorm) {
    refuse(name, "is not part of a quantised product or sum");
  }
  for (const int64_t input : operation.inputs) {
    if (!graph_.grids[input]) refuse(name, "its input is not quantised");
  }
  if (is_product(operation.kind)) check_product(operation);
  if (!graph_.grids[step.output]) {
    const std::vector<size_t> readers = graph_.readers_of(step.output);
    const bool relu =
        readers.size() == 1 && graph_.operations[readers.front()].kind == OperationKind::kRelu;
    if (relu) step.output = graph_.operations[readers.front()].output;
    step.relu = relu;
    if (!graph_.grids[step.output]) refuse(name, "its output is not quantised");
  }
  const ActivationGrid& grid = grid_of(step.output);
  Requantisation& r = step.requantisation;
  r.zero = static_cast<int32_t>(grid.scale.zero_point);
  r.low = std::max(static_cast<int32_t>(grid.grid.lowest()), step.relu ? r.zero : INT8_MIN);
  r.high = static_cast<int32_t>(grid.grid.highest());
  for (const double factor : factors_of(step)) r.factors.push_back(fixed_point_of(factor));
  steps_.push_back(std::move(step));
}

/// What sums are multiplied by; a mean's also has the number of values, known when it runs.
std::vector<double> IntegerModel::factors_of(const Step& step) const {
  const DeployedOperation& o = *step.operation;
  const double to = grid_of(step.output).scale.scale;
  const double from = grid_of(o.inputs.front()).scale.scale;
  if (is_product(o.kind)) {
    const at::Tensor& scales = o.codes->scales.scale;
    std::vector<double> factors;
    for (int64_t i = 0; i < scales.numel(); ++i) {
      factors.push_back(from * scales.const_data_ptr<float>()[i] / to);
    }
    return factors;
  }
  if (o.kind == OperationKind::kAdd) {
    const double larger = std::max<double>(from, grid_of(o.inputs.back()).scale.scale);
    return {2 * larger / (to * (1 << kSummandBits))};
  }
  return {};
}

std::vector<int64_t> IntegerModel::shape_after(const Step& step, at::IntArrayRef input) const {
  const DeployedOperation& o = *step.operation;
  switch (o.kind) {
    case OperationKind::kConvolution: {
      const ConvolutionShape shape = shape_of(o, input);
      return {input[0], o.codes->codes.size(0), shape.out_height(), shape.out_width()};
    }
    case OperationKind::kLinear:
      return {input[0], o.codes->codes.size(0)};
    case OperationKind::kMaxPool:
      return {input[0], input[1], input[2] / o.window, input[3] / o.window};
    case OperationKind::kMeanPool:
      return {input[0], input[1]};
    default:
      return input.vec();
  }
}

void IntegerModel::run_sample(const Step& step, const std::vector<at::Tensor>& codes,
                              int64_t sample, at::Tensor& output) const {
  const DeployedOperation& o = *step.operation;
  const at::Tensor& input = codes[o.inputs.front()];
  const auto zero = static_cast<int32_t>(grid_of(o.inputs.front()).scale.zero_point);
  const int8_t* x = sample_of(input, sample);
  int8_t* y = sample_of(output, sample);
  if (is_product(o.kind)) {
    const at::Tensor& w = o.codes->codes;
    const IntegerWeight weight{
        w.const_data_ptr<int8_t>(),
        o.bias_codes.defined() ? o.bias_codes.const_data_ptr<int32_t>() : nullptr, w.size(0),
        w.numel() / w.size(0)};
    if (o.kind == OperationKind::kLinear) {
      integer_linear(x, zero, weight, step.requantisation, y);
    } else {
      integer_convolution(x, zero, shape_of(o, input.sizes()), weight, step.requantisation, y);
    }
  } else if (o.kind == OperationKind::kMaxPool) {
    integer_max_pool(x, input.size(1), input.size(2), input.size(3), o.window, y);
  } else if (o.kind == OperationKind::kMeanPool) {
    const int64_t plane = input.size(2) * input.size(3);
    Requantisation r = step.requantisation;
    r.factors = {fixed_point_of(static_cast<double>(grid_of(o.inputs.front()).scale.scale) /
                                (grid_of(step.output).scale.scale * static_cast<double>(plane)))};
    integer_sum(x, zero, input.size(1), plane, r, y);
  } else {
    const ActivationGrid &a = grid_of(o.inputs[0]), &b = grid_of(o.inputs[1]);
    const double larger = 2.0 * std::max(a.scale.scale, b.scale.scale);
    integer_add({x, zero, fixed_point_of(a.scale.scale / larger)},
                {sample_of(codes[o.inputs[1]], sample), static_cast<int32_t>(b.scale.zero_point),
                 fixed_point_of(b.scale.scale / larger)},
                input.numel() / input.size(0), step.requantisation, y);
  }
}

at::Tensor IntegerModel::run(const Step& step, const std::vector<at::Tensor>& codes) const {
  const at::Tensor& input = codes[step.operation->inputs.front()];
  at::Tensor output = at::empty(shape_after(step, input.sizes()), at::kChar);
  at::parallel_for(0, input.size(0), 1, [&](int64_t begin, int64_t end) {
    for (int64_t sample = begin; sample < end; ++sample) run_sample(step, codes, sample, output);
  });
  return output;
}

at::Tensor IntegerModel::forward(const at::Tensor& inputs) const {
  const at::NoGradGuard no_grad;
  std::vector<at::Tensor> codes(graph_.names.size());
  const ActivationGrid& first = grid_of(graph_.input);
  codes[graph_.input] = (at::round(inputs.to(at::kFloat) / first.scale.scale) +
                         static_cast<double>(first.scale.zero_point))
                            .clamp(first.grid.lowest(), first.grid.highest())
                            .to(at::kChar)
                            .contiguous();
  for (const Step& step : steps_) codes[step.output] = run(step, codes);
  const ActivationGrid& last = grid_of(graph_.output);
  return (codes[graph_.output].to(at::kFloat) - static_cast<double>(last.scale.zero_point)) *
         last.scale.scale;
}

}  // namespace wattle
