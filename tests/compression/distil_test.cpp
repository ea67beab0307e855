#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>
#include <gmock/gmock.h>

#include "common/error.h"
#include "compression/distil/distil_callback.h"
#include "tests/compression/compression_support.h"
#include "trainer/state/flat_parameters.h"

namespace wattle {
namespace {

using support::CountingText;
using support::normal;
using support::tiny_llama;

/// Hands out its inputs as logits: a teacher whose every logit a test knows.
class Echo : public Objective {
 public:
  LossResult loss(const at::Tensor&, const at::Tensor&, const ForwardContext&) override {
    return {};
  }
  at::Tensor predict(const at::Tensor& activations) override { return activations; }
};

Model echo() {
  Model model;
  model.objective = std::make_unique<Echo>();
  return model;
}

class Distilling : public testing::Test {
 protected:
  /// The loss of these logits under a teacher with those, and their gradient in place.
  double loss(at::Tensor& logits, double temperature, double weight,
              std::optional<double> scale = std::nullopt) {
    Model teacher = echo();
    DistilLoss distil(teacher, temperature, weight);
    ForwardContext context;
    const at::Tensor inputs = teacher_.to(logits.scalar_type());
    context.inputs = &inputs;
    distil.begin(context);
    return distil.loss_(logits, targets_, 0, scale);
  }

  at::Tensor teacher_ = normal({4, 7}, 1) * 2;
  at::Tensor targets_ = [] {
    at::Tensor targets = at::zeros({4}, at::kLong);
    targets[0] = 3;
    targets[2] = -1;  // not scored
    targets[3] = 6;
    return targets;
  }();
};

TEST_F(Distilling, ItsGradientIsTheDerivativeOfItsLoss) {
  const at::Tensor logits = normal({4, 7}, 2).to(at::kDouble);
  for (const double temperature : {1.0, 2.5}) {
    for (const double weight : {0.3, 1.0}) {
      at::Tensor gradient = logits.clone();
      loss(gradient, temperature, weight, 0.5);
      for (int64_t i = 0; i < 4; ++i) {
        for (int64_t j = 0; j < 7; ++j) {
          constexpr double kStep = 1e-5;
          at::Tensor up = logits.clone(), down = logits.clone();
          up[i][j] += kStep;
          down[i][j] -= kStep;
          const double slope =
              (loss(up, temperature, weight) - loss(down, temperature, weight)) / (2 * kStep);
          EXPECT_NEAR(gradient[i][j].item<double>(), 0.5 * slope, 1e-8)
              << i << " " << j << " T " << temperature << " w " << weight;
        }
      }
    }
  }
}

TEST_F(Distilling, OneLogitIsTwoClasses) {
  const at::Tensor logits = normal({4, 1}, 2).to(at::kDouble);
  const at::Tensor teacher = normal({4, 1}, 3) * 2;
  const auto both = [](const at::Tensor& z) { return at::cat({at::zeros_like(z), z}, 1); };
  for (const double temperature : {1.0, 2.5}) {
    for (const double weight : {0.3, 1.0}) {
      teacher_ = teacher;
      targets_ = at::tensor({1.0, 0.0, 0.0, 1.0}, at::kDouble).view({4, 1});
      at::Tensor gradient = logits.clone();
      const double one = loss(gradient, temperature, weight, 0.5);
      teacher_ = both(teacher);
      targets_ = targets_.view({4}).to(at::kLong);
      at::Tensor of_classes = both(logits);
      EXPECT_NEAR(one, loss(of_classes, temperature, weight, 0.5), 1e-9);
      EXPECT_LT((gradient - of_classes.narrow(1, 1, 1)).abs().max().item<double>(), 1e-9);
    }
  }
}

TEST_F(Distilling, TheGradientOfOneLogitIsTheDerivativeOfItsLoss) {
  const at::Tensor logits = normal({4, 1}, 2).to(at::kDouble);
  teacher_ = normal({4, 1}, 3) * 2;
  targets_ = at::tensor({1.0, 0.0, 0.25, 1.0}, at::kDouble).view({4, 1});
  at::Tensor gradient = logits.clone();
  loss(gradient, 2.5, 0.3, 0.5);
  for (int64_t i = 0; i < 4; ++i) {
    constexpr double kStep = 1e-5;
    at::Tensor up = logits.clone(), down = logits.clone();
    up[i] += kStep;
    down[i] -= kStep;
    const double slope = (loss(up, 2.5, 0.3) - loss(down, 2.5, 0.3)) / (2 * kStep);
    EXPECT_NEAR(gradient[i].item<double>(), 0.5 * slope, 1e-8) << i;
  }
}

TEST_F(Distilling, KernelsAndTensorsAgree) {
  const at::Tensor logits = normal({4, 7}, 2);
  at::Tensor by_kernels = logits.clone(), by_tensors = logits.to(at::kDouble);
  const double one = loss(by_kernels, 2.0, 0.4, 0.25), other = loss(by_tensors, 2.0, 0.4, 0.25);
  EXPECT_NEAR(one, other, 1e-5);
  EXPECT_LT((by_kernels.to(at::kDouble) - by_tensors).abs().max().item<double>(), 1e-6);
}

TEST_F(Distilling, IsLeastForTheTeachersOwnLogits) {
  targets_.select(0, 2).fill_(0);
  at::Tensor same = teacher_.clone(), other = normal({4, 7}, 2);
  EXPECT_NEAR(loss(same, 3.0, 1.0), 0, 1e-5);
  EXPECT_GT(loss(other, 3.0, 1.0), 0.1);
}

TEST_F(Distilling, ATargetThatIsNoClassIsRefused) {
  for (const int64_t damaged : {7, -2}) {
    targets_[1] = damaged;
    for (const at::ScalarType type : {at::kFloat, at::kDouble}) {
      at::Tensor logits = normal({4, 7}, 2).to(type);
      EXPECT_THAT([&] { loss(logits, 2.0, 0.5, 1.0); },
                  testing::ThrowsMessage<Error>(testing::HasSubstr("expected 0 to 6")));
    }
  }
}

TEST_F(Distilling, ATeacherOfOtherClassesIsRefused) {
  at::Tensor logits = normal({4, 9}, 2);
  EXPECT_THROW(loss(logits, 2.0, 0.5), Error);
}

/// One step's loss and gradients of a tiny model.
class StepOf {
 public:
  explicit StepOf(uint64_t seed)
      : model_(build_model(tiny_llama(), seed)),
        gradients_(at::zeros({layout_of(model_.parameters).numel})),
        flat_(model_.parameters, layout_of(model_.parameters), gradients_, Precision::kFp32) {}

  double run(const Batch& batch) {
    for (Parameter* parameter : model_.parameters) parameter->begin_step();
    const ForwardContext context{.training = true, .sample_indices = &batch.sample_indices};
    const LossResult result = model_.loss(batch, context);
    result.loss.backward();
    for (Parameter* parameter : model_.parameters) parameter->end_step();
    return result.loss.item<double>();
  }
  double evaluate(const Batch& batch) {
    const at::NoGradGuard no_grad;
    return model_.loss(batch, ForwardContext{}).loss.item<double>();
  }
  TrainingView view(int64_t step) { return {model_, flat_, step, 10, 0, 1}; }

  Model model_;
  at::Tensor gradients_;
  FlatParameters flat_;
};

TEST(DistilCallback, TakesTheLossBetweenItsSteps) {
  StepOf student(1);
  const Batch batch = CountingText(8).fetch(std::vector<int64_t>{1, 5});
  const double plain = student.run(batch), evaluated = student.evaluate(batch);
  const at::Tensor plain_gradients = student.gradients_.clone();
  DistilOptions options{.teacher = "t", .begin_step = 2, .end_step = 4};
  DistilCallback distil("compression.0.distil", options, build_model(tiny_llama(), 2),
                        student.model_);
  for (int64_t step = 0; step < 6; ++step) {
    distil.step_begins(student.view(step));
    const bool active = step >= 2 && step < 4;
    EXPECT_EQ(student.run(batch) == plain, !active) << step;
    const double apart = (student.gradients_ - plain_gradients).abs().max().item<double>();
    EXPECT_EQ(apart > 1e-4, active) << step << " " << apart;  // sums of threads vary a little
    EXPECT_EQ(student.evaluate(batch), evaluated) << "evaluation keeps cross-entropy";
  }
}

TEST(DistilCallback, AStudentThatIsItsTeacherHasNothingToLearn) {
  StepOf student(1);
  const Batch batch = CountingText(8).fetch(std::vector<int64_t>{1, 5});
  DistilCallback distil("compression.0.distil", {.teacher = "t", .weight = 1.0},
                        build_model(tiny_llama(), 1), student.model_);
  distil.step_begins(student.view(0));
  EXPECT_NEAR(student.run(batch), 0, 1e-5);
  EXPECT_LT(student.gradients_.abs().max().item<float>(), 1e-5);
}

TEST(DistilCallback, TellsItsTeacherInTheLedgerAndRefusesAnother) {
  StepOf student(1);
  const DistilOptions options{.teacher = "secret/path"};
  DistilCallback first("compression.0.distil", options, build_model(tiny_llama(), 2),
                       student.model_);
  const std::string state = first.save_state();
  EXPECT_THAT(state, testing::HasSubstr("teacher_xxh3_128"));
  EXPECT_THAT(state, testing::Not(testing::HasSubstr("secret")));
  first.load_state(state);
  DistilCallback other("compression.0.distil", options, build_model(tiny_llama(), 3),
                       student.model_);
  EXPECT_THROW(other.load_state(state), Error);
}

ModelOptions one_output(ModelLoss loss) {
  ModelOptions options;
  options.family = ModelFamily::kMlp;
  options.inputs = 4;
  options.hidden = {8};
  options.outputs = 1;
  options.loss = loss;
  return options;
}

TEST(DistilCallback, RefusesModelsAndTeachersThatPredictValues) {
  const ModelOptions regression = one_output(ModelLoss::kMse),
                     binary = one_output(ModelLoss::kAuto);
  for (const auto& [teacher, student] :
       {std::pair(regression, regression), {regression, binary}, {binary, regression}}) {
    Model model = build_model(student, 1);
    EXPECT_THROW(
        DistilCallback("compression.0.distil", {.teacher = "t"}, build_model(teacher, 2), model),
        Error);
  }
}

TEST(DistilCallback, ABinaryModelThatIsItsTeacherHasNothingToLearn) {
  const ModelOptions binary = one_output(ModelLoss::kAuto);
  Model model = build_model(binary, 1);
  DistilCallback distil("compression.0.distil", {.teacher = "t", .weight = 1.0},
                        build_model(binary, 1), model);
  const at::Tensor inputs = normal({6, 4}, 5);
  const Batch batch{inputs, at::zeros({6}), {0, 1, 2, 3, 4, 5}};
  const auto loss = [&] {
    const at::NoGradGuard no_grad;
    ForwardContext context{.training = true, .sample_indices = &batch.sample_indices};
    return model.loss(batch, context).loss.item<double>();
  };
  const double plain = loss();
  const FlatLayout layout = layout_of(model.parameters);
  FlatParameters flat(model.parameters, layout, at::zeros({layout.numel}), Precision::kFp32);
  distil.step_begins({model, flat, 0, 10, 0, 1});
  EXPECT_GT(plain, 0.1);
  EXPECT_NEAR(loss(), 0, 1e-6);
}

}  // namespace
}  // namespace wattle
