#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace wattle {

/// A place in a configuration: a file's line and column (from 1), or a `--set` on the command line
/// (then `file` is the text of the override and line is 0).
struct Location {
  std::string file;
  int line = 0;
  int column = 0;
};

/// Collects all that is wrong with a configuration, so that one pass names every mistake.
class Diagnostics {
 public:
  void error(const Location& at, const std::string& key, const std::string& message);
  void warning(const Location& at, const std::string& key, const std::string& message);

  bool ok() const { return errors_.empty(); }
  const std::vector<std::string>& errors() const { return errors_; }
  const std::vector<std::string>& warnings() const { return warnings_; }

  /// Throws Error(kConfig) with all the errors, one a line, if there is any.
  void throw_if_errors() const;

 private:
  std::vector<std::string> errors_;
  std::vector<std::string> warnings_;
};

/// The candidate with the least edit distance to `word`, or "" if none is near enough to be a slip.
std::string nearest(std::string_view word, const std::vector<std::string>& candidates);

}  // namespace wattle
