#include "common/host_name.h"

#include <unistd.h>

#include <array>

#include "common/error.h"

namespace wattle {

std::string host_name() {
  std::array<char, 256> name{};
  if (::gethostname(name.data(), name.size() - 1) != 0) {
    throw Error(ErrorCode::kIo, "the host's name can't be read");
  }
  return name.data();
}

}  // namespace wattle
