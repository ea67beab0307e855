#pragma once

#include <chrono>
#include <map>
#include <vector>

#include "energy/accounting/energy_ledger.h"
#include "trainer/nn/model.h"

namespace wattle {

/// Shares the time of forward and backward among the kinds of layers. Time belongs to the kind that
/// was entered last; what comes before the first is nobody's.
class LayerTimer : public LayerTrace {
 public:
  void enter_forward(LayerKind kind) override { enter(forward_, kind); }
  void enter_backward(LayerKind kind) override { enter(backward_, kind); }

  /// Where forward or backward begins, and where it ends; ends what was entered last.
  void begin();
  void end(Phase phase);

  /// Of the time between begin and end of this phase (forward or backward) so far; what came before
  /// the first kind is missing to a sum of 1.
  std::vector<LayerShare> shares(Phase phase) const;

 private:
  using Clock = std::chrono::steady_clock;
  using Seconds = std::map<LayerKind, double>;
  void enter(Seconds& seconds, LayerKind kind);
  void leave();

  Seconds forward_, backward_;
  double* current_ = nullptr;
  Clock::time_point since_, began_;
  double forward_seconds_ = 0, backward_seconds_ = 0;
};

}  // namespace wattle
