#pragma once

#include <optional>
#include <string_view>
#include <utility>

namespace wattle {

/// The number at the front of "1.5 kW", at least 0 and finite, and the rest without the spaces
/// before it; nothing if there is no such number.
std::optional<std::pair<double, std::string_view>> split_number(std::string_view text);

/// Seconds of "90s", "2 hours", "1d" or "week": s, m, h, d, w (or second, min, minute, hour, day,
/// week, month of 30 days, with or without a plural's s); a bare number is seconds, a bare unit is
/// one of it. Nothing for other texts.
std::optional<double> duration_seconds(std::string_view text);

}  // namespace wattle
