#include <fmt/format.h>
#include <zlib.h>

#include <charconv>
#include <cmath>
#include <memory>
#include <string_view>

#include "common/error.h"
#include "trainer/data/rows/row_dataset.h"

namespace wattle {
namespace {

/// What some spreadsheets put before UTF-8.
constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";

struct GzClose {
  void operator()(gzFile_s* file) const { gzclose(file); }
};

/// The whole file; zlib passes through what is not compressed.
std::string read_file(const std::string& path) {
  const std::unique_ptr<gzFile_s, GzClose> file(gzopen(path.c_str(), "rb"));
  if (!file) throw Error(ErrorCode::kIo, path + ": can't be opened");
  std::string text;
  std::vector<char> buffer(1 << 16);
  int count = 0;
  while ((count = gzread(file.get(), buffer.data(), static_cast<unsigned>(buffer.size()))) > 0) {
    text.append(buffer.data(), static_cast<size_t>(count));
  }
  int code = Z_OK;
  const char* reason = gzerror(file.get(), &code);
  if (count < 0 || (code != Z_OK && code != Z_STREAM_END)) {
    throw Error(ErrorCode::kFormat,
                fmt::format("{}: can't be decompressed past byte {} of its content: {}", path,
                            text.size(), reason));
  }
  return text;
}

std::vector<std::string_view> split(std::string_view text, char separator) {
  std::vector<std::string_view> fields;
  size_t start = 0;
  for (size_t end = 0; end != std::string_view::npos; start = end + 1) {
    end = text.find(separator, start);
    fields.push_back(text.substr(start, end == std::string_view::npos ? end : end - start));
  }
  return fields;
}

std::string_view trimmed(std::string_view text) {
  constexpr std::string_view kBlanks = " \t\r\"";
  const size_t first = text.find_first_not_of(kBlanks);
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(kBlanks) - first + 1);
}

float parse_number(std::string_view field, const std::string& path, int64_t line, size_t column) {
  field = trimmed(field);
  float value = 0;
  const auto [stop, error] = std::from_chars(field.data(), field.data() + field.size(), value);
  const bool is_number =
      error != std::errc::invalid_argument && stop == field.data() + field.size();
  if (!is_number || error != std::errc() || !std::isfinite(value)) {
    throw Error(ErrorCode::kFormat,
                fmt::format("{}:{}: column {}: expected a {}number, got '{}'", path, line,
                            column + 1, is_number ? "finite float32 " : "", field));
  }
  return value;
}

void append_row(Table& table, std::string_view text, int64_t line) {
  const std::vector<std::string_view> fields = split(text, ',');
  const int64_t count = static_cast<int64_t>(fields.size());
  if (table.columns == 0) table.columns = count;
  if (count != table.columns) {
    throw Error(ErrorCode::kFormat, fmt::format("{}:{}: expected {} columns, got {}", table.path,
                                                line, table.columns, count));
  }
  for (size_t column = 0; column < fields.size(); ++column) {
    table.values.push_back(parse_number(fields[column], table.path, line, column));
  }
  table.lines.push_back(line);
}

}  // namespace

Table read_table(const std::string& path, bool header) {
  Table table;
  table.path = path;
  const std::string content = read_file(path);
  std::string_view text = content;
  if (text.starts_with(kByteOrderMark)) text.remove_prefix(kByteOrderMark.size());
  std::vector<std::string_view> names;
  int64_t line = 0;
  for (const std::string_view row : split(text, '\n')) {
    ++line;
    if (trimmed(row).empty()) continue;
    if (header && names.empty()) {
      names = split(row, ',');
    } else {
      append_row(table, row, line);
    }
  }
  if (table.rows() == 0) throw Error(ErrorCode::kFormat, path + ": expected rows, got none");
  if (static_cast<int64_t>(names.size()) == table.columns) {
    for (const std::string_view name : names) table.names.emplace_back(trimmed(name));
  }
  return table;
}

}  // namespace wattle
