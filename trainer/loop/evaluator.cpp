#include "trainer/loop/evaluator.h"

#include <c10/core/GradMode.h>

#include <cmath>

namespace wattle {

double Evaluation::perplexity() const { return std::exp(loss); }

Evaluator::Evaluator(Model& model, const Dataset& dataset, const EvaluationPlan& plan,
                     FiguresExchange& exchange, EnergyMonitor& energy)
    : model_(model), dataset_(dataset), plan_(plan), exchange_(exchange), energy_(energy) {}

Evaluation Evaluator::run() {
  const PhaseWindow window = energy_.window(Phase::kEvaluation);
  at::AutoGradMode no_grad(false);
  const IndexRange mine = plan_.batches_of(exchange_.rank());
  // Loss sum, positions and right ones of each batch; ranks with fewer batches fill up with zeros.
  const int64_t most = (plan_.batches() + plan_.ranks - 1) / plan_.ranks;
  std::vector<double> figures(3 * most, 0.0);
  bool has_classes = true;
  for (int64_t i = 0; i < mine.count; ++i) {
    const Batch batch = evaluation_batch(dataset_, plan_, mine.first + i);
    const LossResult result = model_.loss(batch, ForwardContext{});
    figures[3 * i] = result.loss.item<double>() * static_cast<double>(result.scored);
    figures[3 * i + 1] = static_cast<double>(result.scored);
    figures[3 * i + 2] = static_cast<double>(result.correct);
  }

  Evaluation evaluation;
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
