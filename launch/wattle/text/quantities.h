#pragma once

#include <optional>
#include <string>

namespace wattle {

/// What people write on the command line: a number and a unit, "1.5kW", with or without a space
/// between them. Each throws Error(kConfig) that names what was expected and what came; negative,
/// infinite and missing numbers are refused.

/// W, kW, MW; a bare number is watts.
double parse_watts(const std::string& text);

/// J, kJ, MJ, GJ, Wh, kWh, MWh; a bare number is joules.
double parse_joules(const std::string& text);

/// In seconds; as duration_seconds() (common/quantity.h) reads it.
double parse_duration(const std::string& text);

/// "2026-11-24T08:00:00Z", or relative to `now_seconds` (since 1970): "now", "+2h", "now+30m".
double parse_time(const std::string& text, double now_seconds);

/// Joules a period: "5kWh/day", "20MJ/12h".
struct BudgetRate {
  double joules = 0;
  std::optional<double> period_seconds;  ///< absent: none was written
};
BudgetRate parse_budget(const std::string& text);

/// Three significant digits and the unit that suits: "182 W", "1.25 kW"; "512 J", "3.60 MJ".
std::string watts_text(double watts);
std::string joules_text(double joules);

/// As squeue writes it: "0:07", "12:03", "3:20:15", "2-03:20:15".
std::string duration_text(double seconds);

}  // namespace wattle
