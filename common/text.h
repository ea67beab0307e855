#pragma once

#include <charconv>
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

namespace wattle {

/// The text with control characters as '?' (also those beyond ASCII, and bytes that are no UTF-8),
/// for terminals and logs.
std::string printable(std::string_view text);
/// The same for a text of several lines, whose ends stay.
std::string printable_lines(std::string_view text);

/// The text, or as much of its beginning as fits into `most_bytes`, followed by "..."; no character
/// of UTF-8 is cut in two.
std::string cut(std::string_view text, size_t most_bytes);

/// Both: what others wrote, as it may stand in a log or a message.
inline std::string brief(std::string_view text, size_t most_bytes = 200) {
  return printable(cut(text, most_bytes));
}

/// The whole number that a text consists of after a prefix: 12 of "step-12" after "step-"; nothing
/// for other texts, and where Number does not hold it.
template <class Number>
std::optional<Number> number_after(std::string_view prefix, std::string_view text) {
  if (!text.starts_with(prefix)) return {};
  Number number = 0;
  const char* end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data() + prefix.size(), end, number);
  if (error != std::errc() || rest != end) return {};
  return number;
}

/// A moment (seconds since 1970) in UTC, its fraction dropped: "2026-11-24T09:30:00Z".
std::string time_text(double seconds);
/// Its day: "2026-11-24".
std::string day_text(double seconds);

}  // namespace wattle
