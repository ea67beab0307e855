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

  /// Ends what was entered last; call when forward ends and when backward ends.
  void leave();

  /// Of the time between enter and leave in this phase (forward or backward) so far, summing to 1;
  /// empty if nothing was entered.
  std::vector<LayerShare> shares(Phase phase) const;

 private:
  using Clock = std::chrono::steady_clock;
  using Seconds = std::map<LayerKind, double>;
  void enter(Seconds& seconds, LayerKind kind);

  Seconds forward_, backward_;
  double* current_ = nullptr;
  Clock::time_point since_;
};

}  // namespace wattle
