// One training step (forward, backward, AdamW) of a GPT-2, the side of the comparison that
// pytorch_gpt.py stands against. Prints one JSON object like it; --trace adds the seconds of each
// layer kind, forward and backward; --quantize FORMAT rounds every weight in each step, and says
// what that takes; --mixed gives the embedding, which is the output layer too, the type that
// llama-quantize gives it without --pure.
#include <ATen/Parallel.h>
#include <ATen/ops/randint.h>
#include <ATen/ops/zeros.h>
#include <sys/resource.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <ctime>
#include <map>
#include <nlohmann/json.hpp>

#include "compression/quantize/weight_quantizer.h"
#include "trainer/models/build_model.h"
#include "trainer/nn/memory.h"
#include "trainer/state/flat_parameters.h"
#include "trainer/state/optimizer/optimizer.h"

namespace wattle {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point begin) {
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

/// Of all threads of this process, in user and system mode: what a busy machine disturbs least.
double cpu_seconds() { return static_cast<double>(std::clock()) / CLOCKS_PER_SEC; }

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

struct Shape {
  ModelOptions model;
  int64_t batch = 0;
  int64_t seq = 256;

  static Shape gpt2(int64_t layers, int64_t width, int64_t heads, int64_t vocab, int64_t batch,
                    int64_t seq) {
    Shape shape;
    shape.model.family = ModelFamily::kGpt2;
    shape.model.layers = layers;
    shape.model.width = width;
    shape.model.heads = heads;
    shape.model.vocab = vocab;
    shape.model.positions = seq;
    shape.batch = batch;
    shape.seq = seq;
    return shape;
  }
};

Shape shape_named(const std::string& name) {
  if (name == "124m") return Shape::gpt2(12, 768, 12, 50257, 4, 256);
  if (name == "10m") return Shape::gpt2(6, 384, 6, 256, 12, 256);
  return Shape::gpt2(2, 64, 2, 256, 2, 32);
}

/// Adds up the time between announcements.
class Stopwatch : public LayerTrace {
 public:
  void enter_forward(LayerKind kind) override { enter(std::string("forward ") + name_of(kind)); }
  void enter_backward(LayerKind kind) override { enter(std::string("backward ") + name_of(kind)); }
  void enter(const std::string& what) {
    if (!now_.empty()) seconds_[now_] += seconds_since(since_);
    now_ = what;
    since_ = Clock::now();
  }
  const std::map<std::string, double>& seconds() const { return seconds_; }

 private:
  std::string now_;
  Clock::time_point since_;
  std::map<std::string, double> seconds_;
};

OptimizerOptions decaying_adamw() {
  OptimizerOptions options;
  options.weight_decay = 0.1;
  return options;
}

class Trainee {
 public:
  Trainee(const Shape& shape, const std::string& format, bool mixed)
      : model_(build_model(shape.model, 1)),
        gradients_(at::zeros({layout_of(model_.parameters).numel}, at::kFloat)),
        flat_(model_.parameters, layout_of(model_.parameters), gradients_, Precision::kFp32),
        optimizer_(make_optimizer(decaying_adamw(),
                                  decaying_ranges(model_.parameters, flat_.layout()),
                                  {0, flat_.layout().numel}, flat_.master())) {
    if (!format.empty()) quantise(format, mixed);
    const at::Tensor text = at::randint(shape.model.vocab, {shape.batch, shape.seq + 1}, at::kLong);
    batch_.inputs = text.narrow(1, 0, shape.seq).contiguous();
    batch_.targets = text.narrow(1, 1, shape.seq).contiguous();
    for (int64_t i = 0; i < shape.batch; ++i) batch_.sample_indices.push_back(i);
  }

  double forward_and_backward(LayerTrace* trace) {
    for (Parameter* parameter : model_.parameters) parameter->begin_step();
    const ForwardContext context{
        .training = true, .sample_indices = &batch_.sample_indices, .trace = trace};
    const LossResult result = model_.loss(batch_, context);
    result.loss.backward();
    for (Parameter* parameter : model_.parameters) parameter->end_step();
    return result.loss.item<double>();
  }

  /// What goes into the working values: rounding, if any.
  struct Rounding {
    double seconds = 0;
    double cpu_seconds = 0;
  };

  Rounding update(int64_t number) {
    Rounding rounding;
    const auto add = [&](const auto& work) {
      const auto begin = Clock::now();
      const double busy = cpu_seconds();
      work();
      rounding.seconds += seconds_since(begin);
      rounding.cpu_seconds += cpu_seconds() - busy;
    };
    add([&] { flat_.finish_gradients(); });
    optimizer_->update(flat_.master(), flat_.gradients(), {number, 3e-4, 1.0});
    add([&] { flat_.publish(); });
    return rounding;
  }

 private:
  void quantise(const std::string& name, bool mixed) {
    const auto format = make_weight_format(name);
    std::vector<WeightTarget> targets;
    for (const Weight& weight : model_.weights) {
      const Parameter& parameter = *weight.weight;
      const bool larger = mixed && parameter.kind() == LayerKind::kEmbedding;
      targets.push_back(
          {parameter.name(),
           larger ? mixed_output_format(*format, parameter.value().size(1)) : format});
    }
    quantizer_ = std::make_unique<WeightQuantizer>("bench", targets, model_.parameters, false);
    flat_.add_transform(*quantizer_);
  }

  Model model_;
  at::Tensor gradients_;
  FlatParameters flat_;
  std::unique_ptr<Optimizer> optimizer_;
  std::unique_ptr<WeightQuantizer> quantizer_;
  Batch batch_;
};

int run(const std::string& name, int64_t steps, int64_t warmup, int threads, bool traced,
        const std::string& format, bool mixed) {
  keep_freed_memory();
  at::set_num_threads(threads);
  const Shape shape = shape_named(name);
  Trainee trainee(shape, format, mixed);
  Stopwatch stopwatch;
  std::vector<double> step_seconds, backward_seconds, busy_seconds, rounding_seconds,
      rounding_busy_seconds;
  double loss = 0;
  for (int64_t i = 0; i < warmup + steps; ++i) {
    const bool measured = i >= warmup;
    const auto begin = Clock::now();
    const double busy = cpu_seconds();
    loss = trainee.forward_and_backward(traced && measured ? &stopwatch : nullptr);
    if (measured) backward_seconds.push_back(seconds_since(begin));
    if (traced && measured) stopwatch.enter("update");
    const Trainee::Rounding rounding = trainee.update(i + 1);
    if (measured) rounding_seconds.push_back(rounding.seconds);
    if (measured) rounding_busy_seconds.push_back(rounding.cpu_seconds);
    if (measured) step_seconds.push_back(seconds_since(begin));
    if (measured) busy_seconds.push_back(cpu_seconds() - busy);
    if (traced && measured) stopwatch.enter("between");
  }
  rusage usage{};
  if (getrusage(RUSAGE_SELF, &usage) != 0) return 1;
  const double step = median(step_seconds);
  nlohmann::ordered_json report = {
      {"what", "wattle"},
      {"shape", name},
      {"threads", threads},
      {"step_seconds", step},
      {"backward_seconds", median(backward_seconds)},
      {"cpu_seconds", median(busy_seconds)},
      {"tokens_per_s", static_cast<double>(shape.batch * shape.seq) / step},
      {"peak_memory_mb", static_cast<double>(usage.ru_maxrss) / 1024},
      {"loss", loss}};
  if (!format.empty()) {
    const double rounding = median(rounding_seconds);
    report["quantize"] = format;
    report["mixed"] = mixed;
    report["rounding_seconds"] = rounding;
    report["rounding_share"] = rounding / (step - rounding);
    const double busy = median(rounding_busy_seconds);
    report["rounding_cpu_seconds"] = busy;
    report["rounding_cpu_share"] = busy / (median(busy_seconds) - busy);
  }
  for (const auto& [what, seconds] : stopwatch.seconds()) {
    report["seconds"][what] = seconds / static_cast<double>(steps);
  }
  std::puts(report.dump().c_str());
  return 0;
}

}  // namespace
}  // namespace wattle

int main(int argc, char** argv) {
  std::string shape = "10m";
  int64_t steps = 5, warmup = 2;
  int threads = 2;
  bool traced = false;
  bool mixed = false;
  std::string format;
  CLI::App app("Measures a training step");
  app.add_option("--shape", shape)->check(CLI::IsMember({"124m", "10m", "tiny"}));
  app.add_option("--steps", steps);
  app.add_option("--warmup", warmup);
  app.add_option("--threads", threads);
  app.add_flag("--trace", traced);
  app.add_option("--quantize", format);
  app.add_flag("--mixed", mixed);
  CLI11_PARSE(app, argc, argv);
  return wattle::run(shape, steps, warmup, threads, traced, format, mixed);
}
