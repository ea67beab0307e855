#include "launch/wattle/text/quantities.h"

#include <fmt/format.h>

#include <array>
#include <cmath>
#include <string_view>
#include <utility>
#include <vector>

#include "common/error.h"
#include "common/job_spec.h"
#include "common/quantity.h"

namespace wattle {
namespace {

using Units = std::vector<std::pair<std::string_view, double>>;

const Units kWattUnits = {{"", 1}, {"W", 1}, {"kW", 1e3}, {"MW", 1e6}};
const Units kJouleUnits = {{"", 1},     {"J", 1},     {"kJ", 1e3},    {"MJ", 1e6},
                           {"GJ", 1e9}, {"Wh", 3600}, {"kWh", 3.6e6}, {"MWh", 3.6e9}};

[[noreturn]] void refuse(const char* expected, const std::string& text) {
  throw Error(ErrorCode::kConfig, fmt::format("expected {}, got \"{}\"", expected, text));
}

std::optional<double> factor_of(const Units& units, std::string_view unit) {
  for (const auto& [name, factor] : units) {
    if (name == unit) return factor;
  }
  return std::nullopt;
}

double parse_quantity(const std::string& text, const Units& units, const char* expected) {
  const auto split = split_number(text);
  if (!split) refuse(expected, text);
  const auto factor = factor_of(units, split->second);
  if (!factor) refuse(expected, text);
  return split->first * *factor;
}

std::string scaled_text(double value, std::string_view unit) {
  constexpr std::array<std::string_view, 4> kPrefixes = {"", "k", "M", "G"};
  size_t prefix = 0;
  while (std::abs(value) >= 999.5 && prefix + 1 < kPrefixes.size()) {
    value /= 1000;
    ++prefix;
  }
  const int decimals = prefix == 0 || value >= 99.95 ? 0 : value >= 9.995 ? 1 : 2;
  return fmt::format("{:.{}f} {}{}", value, decimals, kPrefixes[prefix], unit);
}

}  // namespace

double parse_watts(const std::string& text) {
  return parse_quantity(text, kWattUnits, "watts, as 2000W or 1.5kW");
}

double parse_joules(const std::string& text) {
  return parse_quantity(text, kJouleUnits,
                        "an energy, as 500J, 20MJ or 5kWh, or for a budget unlimited");
}

double parse_duration(const std::string& text) {
  const auto seconds = duration_seconds(text);
  if (!seconds) refuse("a duration, as 90s, 30m, 2h, 1d or week", text);
  return *seconds;
}

double parse_time(const std::string& text, double now_seconds) {
  if (const auto utc = parse_utc_time(text)) return *utc;
  std::string_view rest = text;
  if (rest.starts_with("now")) rest.remove_prefix(3);
  if (rest.empty() && !text.empty()) return now_seconds;
  if (!rest.starts_with('+')) {
    refuse("a time in UTC, as 2026-11-24T08:00:00Z, or from now on, as +2h", text);
  }
  return now_seconds + parse_duration(std::string(rest.substr(1)));
}

BudgetRate parse_budget(const std::string& text) {
  const size_t slash = text.find('/');
  BudgetRate rate{parse_joules(text.substr(0, slash)), std::nullopt};
  if (slash == std::string::npos) return rate;
  rate.period_seconds = parse_duration(text.substr(slash + 1));
  if (*rate.period_seconds <= 0) refuse("a period longer than 0, as 5kWh/day", text);
  return rate;
}

std::string watts_text(double watts) { return scaled_text(watts, "W"); }

std::string joules_text(double joules) { return scaled_text(joules, "J"); }

std::string duration_text(double seconds) {
  const int64_t whole = std::llround(std::max(0.0, seconds));
  const int64_t days = whole / 86400, hours = whole / 3600 % 24, minutes = whole / 60 % 60;
  if (days > 0) return fmt::format("{}-{:02}:{:02}:{:02}", days, hours, minutes, whole % 60);
  if (hours > 0) return fmt::format("{}:{:02}:{:02}", hours, minutes, whole % 60);
  return fmt::format("{}:{:02}", minutes, whole % 60);
}

}  // namespace wattle
