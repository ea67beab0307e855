#include "launch/wattle/text/quantities.h"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <array>
#include <charconv>
#include <cmath>
#include <ctime>
#include <string_view>
#include <utility>
#include <vector>

#include "common/error.h"
#include "common/job_spec.h"

namespace wattle {
namespace {

using Units = std::vector<std::pair<std::string_view, double>>;

const Units kWattUnits = {{"", 1}, {"W", 1}, {"kW", 1e3}, {"MW", 1e6}};
const Units kJouleUnits = {{"", 1},     {"J", 1},     {"kJ", 1e3},    {"MJ", 1e6},
                           {"GJ", 1e9}, {"Wh", 3600}, {"kWh", 3.6e6}, {"MWh", 3.6e9}};
const Units kTimeUnits = {{"", 1},           {"s", 1},       {"second", 1}, {"m", 60},
                          {"min", 60},       {"minute", 60}, {"h", 3600},   {"hour", 3600},
                          {"d", 86400},      {"day", 86400}, {"w", 604800}, {"week", 604800},
                          {"month", 2592000}};

[[noreturn]] void refuse(const char* expected, const std::string& text) {
  throw Error(ErrorCode::kConfig, fmt::format("expected {}, got \"{}\"", expected, text));
}

std::optional<double> factor_of(const Units& units, std::string_view unit) {
  for (const auto& [name, factor] : units) {
    if (name == unit) return factor;
  }
  return std::nullopt;
}

/// The number at the front and the rest without the spaces before it; nothing if there is none.
std::optional<std::pair<double, std::string_view>> split_number(std::string_view text) {
  double number = 0;
  const auto [end, code] =
      std::from_chars(text.data(), text.data() + text.size(), number, std::chars_format::fixed);
  if (code != std::errc() || !std::isfinite(number) || number < 0) return std::nullopt;
  text.remove_prefix(static_cast<size_t>(end - text.data()));
  while (text.starts_with(' ')) text.remove_prefix(1);
  return std::pair(number, text);
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
  return parse_quantity(text, kJouleUnits, "an energy, as 500J, 20MJ or 5kWh");
}

double parse_duration(const std::string& text) {
  constexpr const char* kExpected = "a duration, as 90s, 30m, 2h, 1d or week";
  const auto split = split_number(text).value_or(std::pair(1.0, std::string_view(text)));
  std::string_view unit = split.second;
  if (text.empty()) refuse(kExpected, text);
  if (unit.size() > 2 && unit.ends_with('s')) unit.remove_suffix(1);
  const auto factor = factor_of(kTimeUnits, unit);
  if (!factor) refuse(kExpected, text);
  return split.first * *factor;
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

std::string time_text(double seconds) {
  return fmt::format("{:%Y-%m-%dT%H:%M:%SZ}",
                     fmt::gmtime(static_cast<std::time_t>(std::floor(seconds))));
}

}  // namespace wattle
