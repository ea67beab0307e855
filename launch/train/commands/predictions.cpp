#include "launch/train/commands/predictions.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "common/atomic_file.h"
#include "common/error.h"
#include "compression/integer/integer_model.h"
#include "trainer/data/loader.h"

namespace wattle {
namespace {

std::unique_ptr<IntegerModel> integer_model_of(ShapedModel& shaped) {
  return std::make_unique<IntegerModel>(deployed_graph(
      shaped.model, shaped.parameters(), shaped.deployment, "evaluation with integers"));
}

/// [batch] int64: one output is a logit of class 1.
at::Tensor classes_of(const at::Tensor& outputs) {
  return outputs.size(1) == 1 ? outputs.gt(0).to(at::kLong).squeeze(1) : outputs.argmax(1);
}

double output_step(const Model& model) {
  return activation_grids_of(model).at(model.activations.back()->name()).scale.scale;
}

/// A rank's part of the file and of the sums.
struct Part {
  std::string rows;
  /// Samples, right, agreeing, squared errors; and a maximum: difference.
  std::array<double, 5> sums = {};
};

void add_row(Part& part, std::initializer_list<at::Tensor> sample) {
  const char* separator = "";
  for (const at::Tensor& values : sample) {
    if (!values.defined()) continue;
    const at::Tensor floats = values.to(at::kFloat).contiguous();
    for (int64_t i = 0; i < floats.numel(); ++i) {
      part.rows += fmt::format("{}{}", separator, floats.const_data_ptr<float>()[i]);
      separator = ",";
    }
  }
  part.rows += '\n';
}

void add_classes(Part& part, const Batch& batch, const at::Tensor& outputs,
                 const at::Tensor& integers) {
  const at::Tensor found = classes_of(integers);
  const at::Tensor targets =
      outputs.size(1) == 1 ? batch.targets.gt(0.5).to(at::kLong).reshape({-1}) : batch.targets;
  part.sums[1] += found.eq(targets).sum().item<double>();
  part.sums[2] += found.eq(classes_of(outputs)).sum().item<double>();
}

void add_values(Part& part, const Batch& batch, const at::Tensor& integers) {
  const at::Tensor errors = integers.to(at::kDouble).reshape({-1}) - batch.targets.reshape({-1});
  part.sums[3] += (errors * errors).sum().item<double>();
}

void add_batch(Part& part, const Batch& batch, const at::Tensor& outputs,
               const at::Tensor& integers, double step, bool predicts_values) {
  for (int64_t i = 0; i < outputs.size(0); ++i) {
    add_row(part, {batch.inputs[i], outputs[i], integers.defined() ? integers[i] : integers});
  }
  if (!integers.defined()) return;
  part.sums[0] += static_cast<double>(outputs.size(0));
  if (predicts_values) {
    add_values(part, batch, integers);
  } else {
    add_classes(part, batch, outputs, integers);
  }
  part.sums[4] = std::max(part.sums[4], (outputs - integers).abs().max().item<double>() / step);
}

std::string header_of(int64_t inputs, int64_t outputs, bool integers) {
  std::string header;
  const auto add = [&](const char* kind, int64_t count) {
    for (int64_t i = 0; i < count; ++i) {
      header += fmt::format("{}{}_{}", header.empty() ? "" : ",", kind, i);
    }
  };
  add("input", inputs);
  add("output", outputs);
  if (integers) add("integer", outputs);
  return header + "\n";
}

IntegerFigures sum_of(const std::vector<std::vector<double>>& parts) {
  IntegerFigures figures;
  double samples = 0;
  for (const std::vector<double>& part : parts) {
    samples += part[0];
    figures.accuracy += part[1];
    figures.agreement += part[2];
    figures.loss += part[3];
    figures.largest_difference = std::max(figures.largest_difference, part[4]);
  }
  figures.samples = static_cast<int64_t>(samples);
  figures.loss /= samples;
  figures.accuracy /= samples;
  figures.agreement /= samples;
  return figures;
}

}  // namespace

std::optional<IntegerFigures> write_predictions(const RunConfig& config, ShapedModel& shaped,
                                                const Dataset& validation,
                                                FiguresExchange& exchange) {
  const bool integers = config.evaluate.integers;
  if (!integers && !config.evaluate.predictions) return std::nullopt;
  if (shaped.options.is_language_model()) {
    throw Error(ErrorCode::kConfig,
                "evaluate.integers and evaluate.predictions need a model of rows or images");
  }
  const at::NoGradGuard no_grad;
  const std::unique_ptr<IntegerModel> model = integers ? integer_model_of(shaped) : nullptr;
  const EvaluationPlan plan = evaluation_plan(config, validation, exchange.size());
  const IndexRange mine = plan.batches_of(exchange.rank());
  Part part;
  int64_t inputs = 0, width = 0;
  for (int64_t i = 0; i < mine.count; ++i) {
    const Batch batch = evaluation_batch(validation, plan, mine.first + i);
    const at::Tensor outputs = shaped.model.forward(batch.inputs, {}).to(at::kFloat).contiguous();
    inputs = batch.inputs[0].numel();
    width = outputs.size(1);
    add_batch(part, batch, outputs, model ? model->forward(batch.inputs) : at::Tensor(),
              model ? output_step(shaped.model) : 1, validation.shape().any_number);
  }
  const std::vector<std::string> rows = exchange.gather_texts(part.rows);
  const auto sums = exchange.gather(part.sums);
  if (config.evaluate.predictions && exchange.rank() == 0) {
    AtomicFile file(*config.evaluate.predictions);
    file.write(header_of(inputs, width, integers));
    for (const std::string& text : rows) file.write(text);
    file.commit();
  }
  return integers ? std::optional(sum_of(sums)) : std::nullopt;
}

}  // namespace wattle
