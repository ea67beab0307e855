#pragma once

#include <string>
#include <vector>

#include "common/text.h"

namespace wattle {

/// Rows of text under headings, aligned for a terminal; columns are two spaces apart.
class Table {
 public:
  enum class Align { kLeft, kRight };
  struct Column {
    std::string heading;
    Align align = Align::kLeft;
  };

  explicit Table(std::vector<Column> columns);

  /// One cell for each column; "" shows as "-". Line breaks and control characters show as '?', so
  /// that no name or reason can break the table or move a terminal's cursor.
  void add(std::vector<std::string> cells);

  /// Headings and rows, each line ended; no spaces at the ends of lines.
  std::string text() const;

 private:
  std::vector<Column> columns_;
  std::vector<std::vector<std::string>> rows_;
};

}  // namespace wattle
