#pragma once

#include <string>

namespace wattle {

/// Whether a path names the folder or something in it, by the texts alone. Both are absolute, or
/// relative to one place; what climbs by ".." is below nothing.
bool is_below(const std::string& path, const std::string& folder);

}  // namespace wattle
