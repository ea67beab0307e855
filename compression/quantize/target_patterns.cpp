#include "compression/quantize/target_patterns.h"

#include <fmt/format.h>

#include <functional>
#include <regex>
#include <set>

#include "common/config/diagnostics.h"
#include "common/error.h"

namespace wattle {
namespace {

constexpr const char* kRegex = "re:";

}  // namespace

bool is_expression(const std::string& pattern) { return pattern.starts_with(kRegex); }

namespace {

std::function<bool(const std::string&)> matcher_of(const std::string& pattern,
                                                   const std::string& key) {
  if (!is_expression(pattern)) {
    return [pattern](const std::string& name) {
      return name == pattern || name.starts_with(pattern + ".");
    };
  }
  try {
    const std::regex expression(pattern.substr(std::string(kRegex).size()));
    return [expression](const std::string& name) { return std::regex_match(name, expression); };
  } catch (const std::regex_error& error) {
    throw Error(ErrorCode::kConfig,
                fmt::format("{}: '{}' is no regular expression: {}", key, pattern, error.what()));
  }
}

/// All that a pattern without "re:" could name.
std::vector<std::string> parts_of(const std::vector<std::string>& names) {
  std::set<std::string> parts;
  for (std::string part : names) {
    while (parts.insert(part).second && part.find('.') != std::string::npos) {
      part.resize(part.rfind('.'));
    }
  }
  return {parts.begin(), parts.end()};
}

[[noreturn]] void fail_unmatched(const std::string& pattern, const std::vector<std::string>& names,
                                 const std::string& key, const std::string& what) {
  const std::string near = nearest(pattern, parts_of(names));
  const std::string hint = !near.empty()   ? fmt::format(" (did you mean '{}'?)", near)
                           : names.empty() ? " (the model has none)"
                                           : fmt::format(" (one is '{}')", names.front());
  throw Error(ErrorCode::kConfig,
              fmt::format("{}: '{}' matches no {}{}", key, pattern, what, hint));
}

}  // namespace

std::vector<std::string> matching_names(const std::vector<std::string>& patterns,
                                        const std::vector<std::string>& names,
                                        const std::string& key, const std::string& what) {
  if (patterns.empty()) return names;
  std::vector<bool> chosen(names.size(), false);
  for (const std::string& pattern : patterns) {
    const auto matches = matcher_of(pattern, key);
    bool any = false;
    for (size_t i = 0; i < names.size(); ++i) {
      if (!matches(names[i])) continue;
      chosen[i] = true;
      any = true;
    }
    if (!any) fail_unmatched(pattern, names, key, what);
  }
  std::vector<std::string> matched;
  for (size_t i = 0; i < names.size(); ++i) {
    if (chosen[i]) matched.push_back(names[i]);
  }
  return matched;
}

}  // namespace wattle
