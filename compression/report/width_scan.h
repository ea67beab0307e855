#pragma once

#include <string>

#include "compression/quantize/quantize_callback.h"

namespace wattle {

/// Keeps an entry's sensitivity scan in checkpoints, beside the entry's state and no part of the
/// ledger: a run that goes on has it for its report.
class WidthScanCallback : public Callback {
 public:
  /// `entry` must outlive this.
  explicit WidthScanCallback(QuantizeCallback& entry) : entry_(entry) {}

  std::string name() const override { return "scan." + entry_.name(); }
  std::string save_state() const override;
  void load_state(const std::string& state) override;

 private:
  QuantizeCallback& entry_;
};

}  // namespace wattle
