#include "common/text.h"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <cmath>
#include <ctime>

namespace wattle {
namespace {

bool goes_on(std::string_view text, size_t at) {
  return at < text.size() && (text[at] & 0xC0) == 0x80;
}

/// Bytes of the character of UTF-8 that begins there; 0 if none does.
size_t character_bytes(std::string_view text, size_t at) {
  const auto first = static_cast<unsigned char>(text[at]);
  const size_t bytes = first < 0x80                    ? 1
                       : first >= 0xC2 && first < 0xE0 ? 2
                       : first >= 0xE0 && first < 0xF0 ? 3
                       : first >= 0xF0 && first < 0xF5 ? 4
                                                       : 0;
  for (size_t i = 1; i < bytes; ++i) {
    if (!goes_on(text, at + i)) return 0;
  }
  return bytes;
}

bool is_control(std::string_view character) {
  const auto first = static_cast<unsigned char>(character[0]);
  if (character.size() == 1) return first < 0x20 || first == 0x7F;
  return first == 0xC2 && static_cast<unsigned char>(character[1]) < 0xA0;  // U+0080 to U+009F
}

std::tm utc(double seconds) { return fmt::gmtime(static_cast<std::time_t>(std::floor(seconds))); }

}  // namespace

std::string printable(std::string_view text) {
  std::string shown;
  shown.reserve(text.size());
  for (size_t at = 0; at < text.size();) {
    const size_t bytes = character_bytes(text, at);
    const std::string_view character = text.substr(at, bytes);
    if (bytes == 0 || is_control(character)) {
      shown += '?';
    } else {
      shown += character;
    }
    at += bytes == 0 ? 1 : bytes;
  }
  return shown;
}

std::string printable_lines(std::string_view text) {
  std::string shown;
  while (!text.empty()) {
    const size_t end = text.find('\n');
    shown += printable(text.substr(0, end));
    if (end == std::string_view::npos) break;
    shown += '\n';
    text.remove_prefix(end + 1);
  }
  return shown;
}

std::string cut(std::string_view text, size_t most_bytes) {
  if (text.size() <= most_bytes) return std::string(text);
  size_t end = most_bytes;
  for (int i = 0; i < 3 && end > 0 && goes_on(text, end); ++i) --end;
  return std::string(text.substr(0, end)) + "...";
}

std::string time_text(double seconds) { return fmt::format("{:%Y-%m-%dT%H:%M:%SZ}", utc(seconds)); }

std::string day_text(double seconds) { return fmt::format("{:%Y-%m-%d}", utc(seconds)); }

}  // namespace wattle
