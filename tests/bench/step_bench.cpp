// One training step (forward, backward, AdamW) of a GPT-2, the side of the comparison that
// pytorch_gpt.py stands against. Prints one JSON object like it; --trace adds the seconds of each
// layer kind, forward and backward. --quantize FORMAT rounds every weight, in every second step:
// what that takes is told from the steps between, of the same process; --mixed gives the embedding,
// which is the output layer too, the type that llama-quantize gives it without --pure; --clip also
// clips gradients.
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
  Trainee(const Shape& shape, const std::string& format, bool mixed, bool clip)
      : model_(build_model(shape.model, 1)),
        gradients_(at::zeros({layout_of(model_.parameters).numel}, at::kFloat)),
        flat_(model_.parameters, layout_of(model_.parameters), gradients_, Precision::kFp32),
        optimizer_(make_optimizer(decaying_adamw(),
                                  decaying_ranges(model_.parameters, flat_.layout()),
                                  {0, flat_.layout().numel}, flat_.master())) {
    if (!format.empty()) make_quantizer(format, mixed, clip);
    const at::Tensor text = at::randint(shape.model.vocab, {shape.batch, shape.seq + 1}, at::kLong);
    batch_.inputs = text.narrow(1, 0, shape.seq).contiguous();
    batch_.targets = text.narrow(1, 1, shape.seq).contiguous();
    for (int64_t i = 0; i < shape.batch; ++i) batch_.sample_indices.push_back(i);
  }

  /// Whether the weights are rounded from now on, with a format at all.
  void quantise(bool on) {
    if (!quantizer_ || on == is_quantised_) return;
    is_quantised_ = on;
    on ? flat_.add_transform(*quantizer_) : flat_.remove_transform(*quantizer_);
  }

  void forward_and_backward(LayerTrace* trace) {
    for (Parameter* parameter : model_.parameters) parameter->begin_step();
    const ForwardContext context{
        .training = true, .sample_indices = &batch_.sample_indices, .trace = trace};
    const LossResult result = model_.loss(batch_, context);
    result.loss.backward();
    for (Parameter* parameter : model_.parameters) parameter->end_step();
  }

  /// Gives the seconds that rounding took.
  double update(int64_t number) {
    auto begin = Clock::now();
    flat_.finish_gradients();
    double rounding = seconds_since(begin);
    optimizer_->update(flat_.master(), flat_.gradients(), {number, 3e-4, 1.0});
    begin = Clock::now();
    flat_.publish();
    return rounding + seconds_since(begin);
  }

 private:
  void make_quantizer(const std::string& name, bool mixed, bool clip) {
    const auto format = make_weight_format(name);
    std::vector<WeightTarget> targets;
    for (const Weight& weight : model_.weights) {
      const Parameter& parameter = *weight.weight;
      const bool larger = mixed && parameter.kind() == LayerKind::kEmbedding;
      targets.push_back(
          {parameter.name(),
           larger ? mixed_output_format(*format, parameter.value().size(1)) : format});
    }
    quantizer_ = std::make_unique<WeightQuantizer>("bench", targets, model_.parameters, clip);
  }

  Model model_;
  at::Tensor gradients_;
  FlatParameters flat_;
  std::unique_ptr<Optimizer> optimizer_;
  std::unique_ptr<WeightQuantizer> quantizer_;
  bool is_quantised_ = false;
  Batch batch_;
};

/// Seconds of the steps of one kind; of all threads where it says cpu.
struct Timings {
  std::vector<double> step, backward, cpu, rounding;
};

void measure_step(Trainee& trainee, int64_t number, Stopwatch* stopwatch, Timings& timings) {
  const auto begin = Clock::now();
  const double busy = cpu_seconds();
  trainee.forward_and_backward(stopwatch);
  timings.backward.push_back(seconds_since(begin));
  if (stopwatch) stopwatch->enter("update");
  timings.rounding.push_back(trainee.update(number));
  timings.step.push_back(seconds_since(begin));
  timings.cpu.push_back(cpu_seconds() - busy);
  if (stopwatch) stopwatch->enter("between");
}

nlohmann::ordered_json report_of(const Timings& timings) {
  return {{"step_seconds", median(timings.step)},
          {"backward_seconds", median(timings.backward)},
          {"cpu_seconds", median(timings.cpu)}};
}

int run(const std::string& name, int64_t steps, int64_t warmup, int threads, bool traced,
        const std::string& format, bool mixed, bool clip) {
  keep_freed_memory();
  at::set_num_threads(threads);
  const Shape shape = shape_named(name);
  Trainee trainee(shape, format, mixed, clip);
  Stopwatch stopwatch;
  Timings warm, plain, quantised;
  const auto sides = format.empty() ? std::vector{&plain} : std::vector{&plain, &quantised};
  int64_t number = 0;
  for (int64_t i = 0; i < warmup + steps; ++i) {
    for (Timings* side : sides) {
      trainee.quantise(side == &quantised);
      const bool measured = i >= warmup;
      measure_step(trainee, ++number, traced && measured ? &stopwatch : nullptr,
                   measured ? *side : warm);
    }
  }
  rusage usage{};
  if (getrusage(RUSAGE_SELF, &usage) != 0) return 1;
  nlohmann::ordered_json report = {{"what", "wattle"}, {"shape", name}, {"threads", threads}};
  report.update(report_of(plain));
  report["tokens_per_s"] = static_cast<double>(shape.batch * shape.seq) / median(plain.step);
  report["peak_memory_mb"] = static_cast<double>(usage.ru_maxrss) / 1024;
  if (!format.empty()) {
    nlohmann::ordered_json& other = report["quantised"] = report_of(quantised);
    other["format"] = format;
    other["mixed"] = mixed;
    other["clip"] = clip;
    other["rounding_share"] = median(quantised.rounding) / median(plain.step);
    other["step_ratio"] = median(quantised.step) / median(plain.step);
    other["cpu_ratio"] = median(quantised.cpu) / median(plain.cpu);
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
  bool mixed = false, clip = false;
  std::string format;
  CLI::App app("Measures a training step");
  app.add_option("--shape", shape)->check(CLI::IsMember({"124m", "10m", "tiny"}));
  app.add_option("--steps", steps);
  app.add_option("--warmup", warmup);
  app.add_option("--threads", threads);
  app.add_flag("--trace", traced);
  app.add_option("--quantize", format);
  app.add_flag("--mixed", mixed);
  app.add_flag("--clip", clip);
  CLI11_PARSE(app, argc, argv);
  return wattle::run(shape, steps, warmup, threads, traced, format, mixed, clip);
}
