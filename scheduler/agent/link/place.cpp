#include "scheduler/agent/link/place.h"

#include <fmt/format.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstring>
#include <fstream>
#include <random>

#include "common/atomic_file.h"
#include "common/error.h"

namespace wattle::agent {

std::string random_id() {
  std::random_device random;
  return fmt::format("{:08x}{:08x}{:08x}{:08x}", random(), random(), random(), random());
}

std::string work_dir_id(const std::string& work_dir) {
  const std::string path = work_dir + "/id";
  const auto read = [&path] {
    std::string id;
    std::getline(std::ifstream(path), id);
    return id;
  };
  if (read().empty()) {
    AtomicFile file(path);
    file.write(random_id() + "\n");
    file.commit();
  }
  struct stat status {};
  if (::stat(path.c_str(), &status) != 0) {
    throw Error(ErrorCode::kIo, fmt::format("{}: {}", path, std::strerror(errno)));
  }
  return fmt::format("{}-{}", read(), status.st_ino);
}

}  // namespace wattle::agent
