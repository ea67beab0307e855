#pragma once

#include <filesystem>

namespace wattle {

/// Removes from a folder, and from those below it, what an AtomicFile leaves aside where its
/// process is killed: `<path>.<pid>.tmp`. REQUIRES: no process is writing there. What is no
/// folder, or is not there, has none. Throws std::filesystem::filesystem_error.
void remove_unfinished_files(const std::filesystem::path& folder);

}  // namespace wattle
