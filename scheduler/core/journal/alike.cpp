#include "scheduler/core/journal/alike.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "common/error.h"
#include "scheduler/core/journal/codec.h"
#include "scheduler/core/journal/journal.h"

namespace wattle::scheduler {
namespace {

/// Moves all numbers that may have a fraction out of a value: 0 is left in their place.
template <class T>
void take_numbers(T& value, std::vector<double>& numbers) {
  if constexpr (std::is_floating_point_v<T>) {
    numbers.push_back(std::exchange(value, 0));
  } else if constexpr (std::is_arithmetic_v<T> || std::is_enum_v<T> ||
                       std::is_same_v<T, std::string>) {
    return;
  } else if constexpr (codec::Optional<T>) {
    if (value) take_numbers(*value, numbers);
  } else if constexpr (codec::List<T>) {
    for (auto& element : value) take_numbers(element, numbers);
  } else {
    fields::visit(value, [&](const char*, auto& field) { take_numbers(field, numbers); });
  }
}

/// Two infinities are the same, and two that are no number.
bool is_near(double a, double b) {
  if (a == b || (std::isnan(a) && std::isnan(b))) return true;
  if (!std::isfinite(a) || !std::isfinite(b)) return false;
  return std::abs(a - b) <= kRounding * std::max({1.0, std::abs(a), std::abs(b)});
}

/// A decision's line without its numbers.
std::string take_numbers(std::string_view line, std::vector<double>& numbers) {
  Decision decision = decision_from_line(std::string(line));
  std::visit([&](auto& body) { take_numbers(body, numbers); }, decision);
  return to_line(decision);
}

bool is_line_alike(std::string_view a, std::string_view b) {
  if (a == b) return true;
  std::vector<double> numbers_a, numbers_b;
  if (take_numbers(a, numbers_a) != take_numbers(b, numbers_b)) return false;
  return std::ranges::equal(numbers_a, numbers_b, is_near);
}

std::string_view take_line(std::string_view& lines) {
  const std::string_view line = lines.substr(0, lines.find('\n'));
  lines.remove_prefix(std::min(lines.size(), line.size() + 1));
  return line;
}

}  // namespace

bool alike_but_for_rounding(std::string_view a, std::string_view b) {
  try {
    while (!a.empty() && !b.empty()) {
      if (!is_line_alike(take_line(a), take_line(b))) return false;
    }
  } catch (const Error& e) {
    if (e.code() != ErrorCode::kFormat) throw;
    return false;  // a line of another version
  }
  return a.empty() && b.empty();
}

}  // namespace wattle::scheduler
