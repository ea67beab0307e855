#include "scheduler/core/journal/state_text.h"

#include <map>

#include "scheduler/core/journal/codec.h"

namespace wattle::scheduler {
namespace {

/// Changes when a field means something else than before, or an old one is gone; whoever changes it
/// also writes how the older format is read.
constexpr std::string_view kFormat = "wattle-core-state 1";

using Lines = std::map<std::string_view, std::string_view>;

Lines lines_of(std::string_view text) {
  Lines lines;
  while (!text.empty()) {
    const std::string_view line = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(text.size(), line.size() + 1));
    const size_t space = line.find(' ');
    if (space == std::string_view::npos) codec::Reader::refuse("state", "a line has no value");
    lines[line.substr(0, space)] = line.substr(space + 1);
  }
  return lines;
}

}  // namespace

std::string to_text(const State& state) {
  std::string text = fmt::format("{}\n", kFormat);
  fields::visit(state, [&](const char* name, const auto& field) {
    text.append(name).append(1, ' ');
    codec::write(text, field);
    text += '\n';
  });
  return text;
}

std::unique_ptr<State> state_from_text(std::string_view text) {
  const std::string_view format = text.substr(0, text.find('\n'));
  if (format != kFormat) {
    codec::Reader::refuse("state",
                          fmt::format("expected '{}', got '{}'", kFormat, format.substr(0, 60)));
  }
  text.remove_prefix(std::min(text.size(), format.size() + 1));
  Lines lines = lines_of(text);
  auto state = std::make_unique<State>(CoreOptions{});
  const codec::Reader reader(/*is_lenient=*/true);
  fields::visit(*state, [&](const char* name, auto& field) {
    const auto line = lines.find(name);
    if (line == lines.end()) return;
    reader.read(codec::json::parse(line->second, nullptr, false), field, name);
    lines.erase(line);
  });
  if (!lines.empty()) codec::Reader::refuse(std::string(lines.begin()->first), "is unknown");
  rebuild(*state);
  return state;
}

}  // namespace wattle::scheduler
