#include "trainer/loop/energy/layer_timer.h"

namespace wattle {

void LayerTimer::enter(Seconds& seconds, LayerKind kind) {
  leave();
  current_ = &seconds[kind];
  since_ = Clock::now();
}

void LayerTimer::leave() {
  if (!current_) return;
  *current_ += std::chrono::duration<double>(Clock::now() - since_).count();
  current_ = nullptr;
}

void LayerTimer::begin() { began_ = Clock::now(); }

void LayerTimer::end(Phase phase) {
  leave();
  double& total = phase == Phase::kBackward ? backward_seconds_ : forward_seconds_;
  total += std::chrono::duration<double>(Clock::now() - began_).count();
}

std::vector<LayerShare> LayerTimer::shares(Phase phase) const {
  const Seconds& seconds = phase == Phase::kBackward ? backward_ : forward_;
  const double total = phase == Phase::kBackward ? backward_seconds_ : forward_seconds_;
  std::vector<LayerShare> shares;
  for (const auto& [kind, time] : seconds) {
    if (total > 0) shares.push_back({name_of(kind), time / total});
  }
  return shares;
}

}  // namespace wattle
