#include "common/quantity.h"

#include <array>
#include <charconv>
#include <cmath>

namespace wattle {
namespace {

constexpr std::array<std::pair<std::string_view, double>, 13> kTimeUnits = {{{"", 1},
                                                                             {"s", 1},
                                                                             {"second", 1},
                                                                             {"m", 60},
                                                                             {"min", 60},
                                                                             {"minute", 60},
                                                                             {"h", 3600},
                                                                             {"hour", 3600},
                                                                             {"d", 86400},
                                                                             {"day", 86400},
                                                                             {"w", 604800},
                                                                             {"week", 604800},
                                                                             {"month", 2592000}}};

}  // namespace

std::optional<std::pair<double, std::string_view>> split_number(std::string_view text) {
  double number = 0;
  const auto [end, code] =
      std::from_chars(text.data(), text.data() + text.size(), number, std::chars_format::fixed);
  if (code != std::errc() || !std::isfinite(number) || number < 0) return std::nullopt;
  text.remove_prefix(static_cast<size_t>(end - text.data()));
  while (text.starts_with(' ')) text.remove_prefix(1);
  return std::pair(number, text);
}

std::optional<double> duration_seconds(std::string_view text) {
  if (text.empty()) return std::nullopt;
  auto [number, unit] = split_number(text).value_or(std::pair(1.0, text));
  if (unit.size() > 2 && unit.ends_with('s')) unit.remove_suffix(1);
  for (const auto& [name, seconds] : kTimeUnits) {
    if (name == unit) return number * seconds;
  }
  return std::nullopt;
}

}  // namespace wattle
