#pragma once

#include <string>
#include <vector>

namespace wattle {

/// Which of `names` the patterns choose, in the order of `names`, each once. A pattern is a name
/// ("blocks.0.attention.qkv.weight"), a part of the model ("blocks.0.attention": all names below
/// it), or "re:" and a regular expression (ECMAScript) for the whole name. No patterns choose all.
///
/// Throws Error(kConfig) for a pattern that matches nothing, with the nearest name, and for one
/// that is no regular expression; `key` is the place in the file that messages name, `what` what
/// the names are of.
std::vector<std::string> matching_names(const std::vector<std::string>& patterns,
                                        const std::vector<std::string>& names,
                                        const std::string& key, const std::string& what = "weight");

/// Whether a pattern is a regular expression.
bool is_expression(const std::string& pattern);

}  // namespace wattle
