#include "common/unfinished_files.h"

#include <algorithm>
#include <string>
#include <vector>

namespace wattle {
namespace {

namespace fs = std::filesystem;

bool is_unfinished(const fs::path& path) {
  if (path.extension() != ".tmp") return false;
  const std::string pid = path.stem().extension();
  return pid.size() > 1 &&
         std::all_of(pid.begin() + 1, pid.end(), [](char c) { return c >= '0' && c <= '9'; });
}

}  // namespace

void remove_unfinished_files(const fs::path& folder) {
  if (!fs::is_directory(folder)) return;
  std::vector<fs::path> unfinished;
  for (const fs::directory_entry& entry : fs::recursive_directory_iterator(folder)) {
    if (entry.is_regular_file() && is_unfinished(entry.path())) unfinished.push_back(entry.path());
  }
  for (const fs::path& path : unfinished) fs::remove(path);
}

}  // namespace wattle
