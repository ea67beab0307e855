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

template <class T>
concept Elements = codec::List<T> || codec::Set<T> ||(codec::Map<T> && !codec::UnorderedMap<T>);

using Take = std::function<void(std::string_view)>;

/// A text that is cut as it grows.
class Pieces {
 public:
  Pieces(size_t piece_bytes, const Take& take) : piece_bytes_(piece_bytes), take_(take) {}

  template <class Field>
  void add(const char* name, const Field& field) {
    text_.append(name).append(1, ' ');
    if constexpr (Elements<Field>) {
      codec::write_list(text_, field, [this] { cut(); });
    } else {
      codec::write(text_, field);
    }
    add("\n");
  }
  void add(std::string_view text) {
    text_ += text;
    cut();
  }
  void end() {
    if (!text_.empty()) take_(text_);
  }

 private:
  void cut() {
    size_t begin = 0;
    for (; text_.size() - begin >= piece_bytes_; begin += piece_bytes_) {
      take_(std::string_view(text_).substr(begin, piece_bytes_));
    }
    text_.erase(0, begin);
  }

  size_t piece_bytes_;
  const Take& take_;
  std::string text_;  ///< that is not given out yet
};

/// Up to the comma or the bracket that ends the first element of a list.
size_t end_of_element(std::string_view list) {
  int depth = 0;
  bool is_quoted = false;
  for (size_t i = 0; i < list.size(); ++i) {
    const char c = list[i];
    if (is_quoted) {
      if (c == '\\') ++i;
      if (c == '"') is_quoted = false;
    } else if (c == '"') {
      is_quoted = true;
    } else if (c == '[' || c == '{') {
      ++depth;
    } else if (depth == 0 && (c == ',' || c == ']' || c == '}')) {
      return i;
    } else if (c == ']' || c == '}') {
      --depth;
    }
  }
  return list.size();
}

/// One element after the other: as JSON, all of them would take a multiple of the text.
template <class Field>
void read_elements(const codec::Reader& reader, std::string_view list, Field& field,
                   const char* name) {
  if (list.size() < 2 || list.front() != '[' || list.back() != ']') {
    codec::Reader::refuse(name, "expected a list");
  }
  field.clear();
  list = list.substr(1, list.size() - 2);
  while (!list.empty()) {
    const size_t end = end_of_element(list);
    reader.read_element(codec::json::parse(list.substr(0, end), nullptr, false), field, name);
    if (end == list.size()) return;
    if (list[end] != ',' || end + 1 == list.size()) codec::Reader::refuse(name, "is no list");
    list.remove_prefix(end + 1);
  }
}

}  // namespace

void write_pieces(const State& state, size_t piece_bytes, const Take& take) {
  Pieces pieces(piece_bytes, take);
  pieces.add(fmt::format("{}\n", kFormat));
  fields::visit(state, [&](const char* name, const auto& field) { pieces.add(name, field); });
  pieces.end();
}

std::string to_text(const State& state) {
  std::string text;
  write_pieces(state, 1 << 20, [&](std::string_view piece) { text += piece; });
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
    if constexpr (Elements<std::remove_reference_t<decltype(field)>>) {
      read_elements(reader, line->second, field, name);
    } else {
      reader.read(codec::json::parse(line->second, nullptr, false), field, name);
    }
    lines.erase(line);
  });
  if (!lines.empty()) codec::Reader::refuse(std::string(lines.begin()->first), "is unknown");
  rebuild(*state);
  return state;
}

}  // namespace wattle::scheduler
