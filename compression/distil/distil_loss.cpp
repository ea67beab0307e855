#include "compression/distil/distil_loss.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/log_sigmoid.h>
#include <ATen/ops/log_softmax.h>
#include <ATen/ops/sigmoid.h>
#include <c10/core/GradMode.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include "common/error.h"
#include "trainer/nn/kernels/parallel_rows.h"
#include "trainer/nn/kernels/rows.h"
#include "trainer/nn/objectives/softmax_loss.h"

namespace wattle {
namespace {

/// Of one row: `student` is replaced by the gradient if there is a scale, `teacher` is overwritten.
struct RowDistillation {
  int64_t classes = 0;
  float temperature = 1;
  float weight = 0;

  double operator()(float* student, float* teacher, int64_t wanted,
                    std::optional<double> scale) const {
    if (wanted == -1) {
      if (scale) std::fill(student, student + classes, 0.0f);
      return 0;
    }
    std::vector<float> soft(student, student + classes);  // the student's, at the temperature
    scale_row(soft.data(), 1 / temperature, classes);
    scale_row(teacher, 1 / temperature, classes);
    std::vector<float> apart(classes);
    for (int64_t i = 0; i < classes; ++i) apart[i] = teacher[i] - soft[i];
    const SoftmaxSum of_teacher = exponentials(teacher, classes);
    const SoftmaxSum of_student = exponentials(soft.data(), classes);
    double moment = 0;
    for (int64_t i = 0; i < classes; ++i) moment += static_cast<double>(teacher[i]) * apart[i];
    const double divergence = moment / of_teacher.sum - log_sum(of_teacher) + log_sum(of_student);

    const float logit = student[wanted];
    const SoftmaxSum hard = exponentials(student, classes);
    const double cross_entropy = log_sum(hard) - logit;
    if (scale) {
      scale_row(student, static_cast<float>(*scale * (1 - weight) / hard.sum), classes);
      student[wanted] -= static_cast<float>(*scale * (1 - weight));
      const double soft_scale = *scale * weight * temperature;
      const auto of_soft = static_cast<float>(soft_scale / of_student.sum);
      const auto of_target = static_cast<float>(soft_scale / of_teacher.sum);
      for (int64_t i = 0; i < classes; ++i) {
        student[i] += soft[i] * of_soft - teacher[i] * of_target;
      }
    }
    return (1 - weight) * cross_entropy + weight * temperature * temperature * divergence;
  }

  static double log_sum(const SoftmaxSum& s) { return std::log(s.sum) + s.largest; }
};

/// The same by tensors, for types that the kernels don't have.
double by_tensors(at::Tensor& logits, const at::Tensor& teacher, const at::Tensor& targets,
                  double temperature, double weight, std::optional<double> gradient_scale) {
  const at::ScalarType type = logits.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
  const at::Tensor scored = targets.ne(-1).to(type).unsqueeze(1);
  const at::Tensor column = targets.clamp_min(0).unsqueeze(1);
  const at::Tensor hard = at::log_softmax(logits, 1, type);
  const at::Tensor soft = at::log_softmax(logits / temperature, 1, type);
  const at::Tensor wanted = at::log_softmax(teacher.to(type) / temperature, 1, type);
  const at::Tensor divergence = (wanted.exp() * (wanted - soft)).sum(1, true);
  const at::Tensor losses =
      hard.gather(1, column) * (weight - 1) + divergence * (weight * temperature * temperature);
  const double total = (losses * scored).sum(at::kDouble).item<double>();
  if (gradient_scale) {
    at::Tensor gradient = hard.exp() * (1 - weight);
    gradient.scatter_add_(1, column, scored * (weight - 1));
    gradient.add_((soft.exp() - wanted.exp()) * (weight * temperature));
    logits.copy_(gradient.mul_(scored * *gradient_scale));
  }
  return total;
}

/// Of two classes, with one logit a row; targets [rows, 1] from 0 to 1.
double by_sigmoids(at::Tensor& logits, const at::Tensor& teacher, const at::Tensor& targets,
                   double temperature, double weight, std::optional<double> gradient_scale) {
  const at::Tensor wide = logits.to(at::kDouble), wanted = targets.to(at::kDouble);
  const at::Tensor soft = wide / temperature, taught = teacher.to(at::kDouble) / temperature;
  const at::Tensor of_teacher = at::sigmoid(taught);
  const at::Tensor divergence =
      of_teacher * (at::log_sigmoid(taught) - at::log_sigmoid(soft)) +
      (1 - of_teacher) * (at::log_sigmoid(-taught) - at::log_sigmoid(-soft));
  const at::Tensor hard = at::log_sigmoid(wide) * wanted + at::log_sigmoid(-wide) * (1 - wanted);
  const double total = (hard * (weight - 1) + divergence * (weight * temperature * temperature))
                           .sum()
                           .item<double>();
  if (gradient_scale) {
    logits.copy_(((at::sigmoid(wide) - wanted) * (1 - weight) +
                  (at::sigmoid(soft) - of_teacher) * (weight * temperature)) *
                 *gradient_scale);
  }
  return total;
}

[[noreturn]] void refuse_classes(int64_t of_teacher, int64_t of_model) {
  throw Error(ErrorCode::kConfig,
              fmt::format("the teacher tells {} classes apart, the model {}; expected the same",
                          of_teacher, of_model));
}

}  // namespace

void DistilLoss::begin(const ForwardContext& context) {
  const at::AutoGradMode no_grad(false);
  const at::Tensor last = teacher_.forward(*context.inputs, ForwardContext{});
  activations_ = last.reshape({-1, last.size(-1)});
}

double DistilLoss::loss_(at::Tensor& logits, const at::Tensor& targets, int64_t first_row,
                         std::optional<double> gradient_scale) {
  const at::AutoGradMode no_grad(false);
  const int64_t rows = logits.size(0), classes = logits.size(1);
  if (classes == 1) {  // whose predictions are probabilities; the activations are the logits
    if (activations_.size(1) != 1) refuse_classes(activations_.size(1), 2);
    return by_sigmoids(logits, activations_.narrow(0, first_row, rows), targets, temperature_,
                       weight_, gradient_scale);
  }
  check_classes(targets, classes);
  at::Tensor teacher =
      teacher_.objective->predict(activations_.narrow(0, first_row, rows)).contiguous();
  if (teacher.size(1) != classes) refuse_classes(teacher.size(1), classes);
  if (!fits_kernels(logits, teacher)) {
    return by_tensors(logits, teacher, targets, temperature_, weight_, gradient_scale);
  }
  // predict() of a classifier hands out its activations themselves.
  if (teacher.is_alias_of(activations_)) teacher = teacher.clone();
  const at::Tensor wanted = targets.contiguous();
  const int64_t* at_wanted = wanted.const_data_ptr<int64_t>();
  float* of_student = logits.mutable_data_ptr<float>();
  float* of_teacher = teacher.mutable_data_ptr<float>();
  const RowDistillation distil{classes, static_cast<float>(temperature_),
                               static_cast<float>(weight_)};
  std::vector<double> losses(static_cast<size_t>(rows));
  each_row(rows, classes, [&](int64_t row) {
    losses[static_cast<size_t>(row)] = distil(
        of_student + row * classes, of_teacher + row * classes, at_wanted[row], gradient_scale);
  });
  return std::accumulate(losses.begin(), losses.end(), 0.0);
}

}  // namespace wattle
