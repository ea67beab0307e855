#include "scheduler/agent/files/log_cause.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <filesystem>
#include <sstream>
#include <string_view>

#include "common/error.h"
#include "common/text.h"
#include "scheduler/agent/files/tails.h"

namespace wattle::agent {
namespace {

constexpr int64_t kEndBytes = 64 << 10;
constexpr size_t kShortestRule = 40;  // dashes around what mpirun says

/// What mpirun says of any exit code.
constexpr std::array<std::string_view, 3> kSaysNothing = {
    "Primary job ", "mpirun detected that one or more processes exited", "MPI_ABORT was invoked"};

bool is_rule(const std::string& line) {
  return line.size() >= kShortestRule && line.find_first_not_of('-') == std::string::npos;
}

/// The lines of a banner as one, up to its first empty one.
std::string sentence_of(std::istringstream& lines) {
  std::string sentence;
  bool is_over = false;
  for (std::string line; std::getline(lines, line) && !is_rule(line);) {
    is_over = is_over || line.empty();
    if (!is_over) sentence += (sentence.empty() ? "" : " ") + line;
  }
  return sentence;
}

bool says_nothing(const std::string& sentence) {
  return std::ranges::any_of(
      kSaysNothing, [&](std::string_view beginning) { return sentence.starts_with(beginning); });
}

}  // namespace

std::string cause_in_log(const std::string& text, int exit_code) {
  const bool has_begun = exit_code != kExitUsage && exit_code != 126 && exit_code != 127;
  std::string own, of_mpirun;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    if (is_rule(line)) {
      const std::string sentence = sentence_of(lines);
      if (of_mpirun.empty() && !says_nothing(sentence)) of_mpirun = sentence;
    } else if (!line.empty() && (!has_begun || line.starts_with("wattle"))) {
      own = line;
    }
  }
  return printable(own.empty() ? of_mpirun : own);
}

std::string cause_in_log_file(const std::string& path, int exit_code) {
  std::error_code missing;
  const auto size = std::filesystem::file_size(path, missing);
  if (missing) return "";
  const int64_t begin = std::max<int64_t>(0, static_cast<int64_t>(size) - kEndBytes);
  std::string text = read_piece(path, begin, kEndBytes);
  if (begin > 0) text.erase(0, text.find('\n'));  // the rest of a line
  return cause_in_log(text, exit_code);
}

}  // namespace wattle::agent
