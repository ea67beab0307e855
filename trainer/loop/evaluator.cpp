#include "trainer/loop/evaluator.h"

#include <c10/core/GradMode.h>

#include <algorithm>
#include <cmath>

namespace wattle {

double Evaluation::perplexity() const { return std::exp(loss); }

Evaluator::Evaluator(Model& model, const Dataset& dataset, const EvaluationPlan& plan,
                     FiguresExchange& exchange, EnergyMonitor& energy,
                     std::function<void()> before_batch)
    : model_(model),
      dataset_(dataset),
      plan_(plan),
      exchange_(exchange),
      energy_(energy),
      before_batch_(std::move(before_batch)) {}

std::optional<Evaluation> Evaluator::run(const std::function<bool()>& goes_on) {
  const PhaseWindow window = energy_.window(Phase::kEvaluation);
  at::AutoGradMode no_grad(false);
  const int64_t mine = plan_.batches_of(exchange_.rank()).count;
  // Ranks with fewer batches fill up with zeros.
  std::vector<double> figures(3 * rounds(), 0.0);
  for (int64_t i = 0; i < rounds(); ++i) {
    if (i > 0 && goes_on && !goes_on()) return std::nullopt;
    if (!goes_on && before_batch_) before_batch_();
    if (i < mine) score(i, std::span(figures).subspan(3 * i, 3));
  }
  return sum(figures);
}

int64_t Evaluator::units_a_sample() const {
  const SampleShape& shape = dataset_.shape();
  return shape.kind == SampleShape::Kind::kTokens ? shape.inputs.front() : 1;
}

int64_t Evaluator::samples_in(int64_t rounds) const {
  int64_t samples = 0;
  for (int64_t rank = 0; rank < plan_.ranks; ++rank) {
    const IndexRange batches = plan_.batches_of(rank);
    for (int64_t i = 0; i < std::min(rounds, batches.count); ++i) {
      samples += plan_.samples_of(batches.first + i).count;
    }
  }
  return samples;
}

void Evaluator::score(int64_t i, std::span<double> figures) {
  const int64_t first = plan_.batches_of(exchange_.rank()).first;
  const Batch batch = evaluation_batch(dataset_, plan_, first + i);
  const LossResult result = model_.loss(batch, ForwardContext{});
  figures[0] = result.loss.item<double>() * static_cast<double>(result.scored);
  figures[1] = static_cast<double>(result.scored);
  figures[2] = static_cast<double>(result.correct);
}

Evaluation Evaluator::sum(const std::vector<double>& figures) {
  Evaluation evaluation;
  bool has_classes = true;
  double loss = 0, scored = 0, correct = 0;
  for (const std::vector<double>& row : exchange_.gather(figures)) {
    for (size_t i = 0; i < row.size(); i += 3) {
      loss += row[i];
      scored += row[i + 1];
      has_classes &= row[i + 2] >= 0;
      correct += row[i + 2];
    }
  }
  evaluation.loss = loss / scored;
  evaluation.scored = static_cast<int64_t>(scored);
  if (has_classes) evaluation.accuracy = correct / scored;
  return evaluation;
}

}  // namespace wattle
