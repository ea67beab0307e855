#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "common/config/schema.h"

namespace wattle {

/// `adapt:` of widths: formats change while the model trains.
struct AdaptOptions {
  int64_t every = 100;
  double margin = 0.1;
  int64_t values = 4096;
  std::optional<int64_t> end_step;

  void describe(Fields& f);
};

/// `widths:` of a quantize entry: each weight gets its own of these formats, within a budget.
struct WidthOptions {
  std::vector<std::string> formats;
  std::optional<int64_t> budget_bytes;
  std::optional<double> budget_joules;
  std::optional<double> joules_per_byte;
  int64_t samples = 8;
  std::optional<AdaptOptions> adapt;

  void describe(Fields& f);

  /// DRAM's 1.3 nJ for 8 bytes (Horowitz 2014) unless it is given.
  double joules_of_byte() const { return joules_per_byte.value_or(1.6e-10); }
  /// What `bytes` of weights count against the budget.
  double cost_of(int64_t bytes) const {
    return static_cast<double>(bytes) * (budget_joules ? joules_of_byte() : 1.0);
  }
  double budget() const {
    return budget_joules ? *budget_joules : static_cast<double>(budget_bytes.value_or(0));
  }
  /// The same with the budget in bytes, without any joules.
  WidthOptions in_bytes() const;
};

}  // namespace wattle
