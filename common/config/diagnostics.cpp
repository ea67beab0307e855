#include "common/config/diagnostics.h"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>
#include <utility>

#include "common/error.h"

namespace wattle {
namespace {

std::string line_of(const Location& at, const std::string& key, const std::string& message) {
  const std::string place =
      at.line > 0 ? fmt::format("{}:{}:{}", at.file, at.line, at.column) : at.file;
  return key.empty() ? fmt::format("{}: {}", place, message)
                     : fmt::format("{}: {}: {}", place, key, message);
}

size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), size_t{0});
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = std::exchange(row[0], i);
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t substituted = diagonal + (a[i - 1] != b[j - 1]);
      diagonal = row[j];
      row[j] = std::min({row[j] + 1, row[j - 1] + 1, substituted});
    }
  }
  return row.back();
}

}  // namespace

void Diagnostics::error(const Location& at, const std::string& key, const std::string& message) {
  errors_.push_back(line_of(at, key, message));
}

void Diagnostics::warning(const Location& at, const std::string& key, const std::string& message) {
  warnings_.push_back(line_of(at, key, message));
}

void Diagnostics::throw_if_errors() const {
  if (ok()) return;
  throw Error(ErrorCode::kConfig, fmt::format("{}", fmt::join(errors_, "\n")));
}

std::string nearest(std::string_view word, const std::vector<std::string>& candidates) {
  std::string best;
  size_t best_distance = std::max<size_t>(2, word.size() / 3) + 1;
  for (const std::string& candidate : candidates) {
    const size_t distance = edit_distance(word, candidate);
    if (distance < best_distance) {
      best = candidate;
      best_distance = distance;
    }
  }
  return best;
}

}  // namespace wattle
