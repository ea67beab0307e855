#include "scheduler/agent/link/place.h"

#include <fmt/format.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstring>
#include <fstream>

#include "common/atomic_file.h"
#include "common/error.h"
#include "scheduler/digest/random_id.h"

namespace wattle::agent {

std::string work_dir_id(const std::string& work_dir) {
  const std::string path = work_dir + "/id";
  const auto read = [&path] {
    std::string id;
    std::getline(std::ifstream(path), id);
    return id;
  };
  if (read().empty()) {
    AtomicFile file(path);
    file.write(scheduler::random_id() + "\n");
    file.commit();
  }
  struct stat status {};
  if (::stat(path.c_str(), &status) != 0) {
    throw Error(ErrorCode::kIo, fmt::format("{}: {}", path, std::strerror(errno)));
  }
  return fmt::format("{}-{}", read(), status.st_ino);
}

}  // namespace wattle::agent
