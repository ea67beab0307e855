#include "scheduler/digest/random_id.h"

#include <fmt/format.h>

#include <random>

namespace wattle::scheduler {

std::string random_id() {
  std::random_device random;
  return fmt::format("{:08x}{:08x}{:08x}{:08x}", random(), random(), random(), random());
}

}  // namespace wattle::scheduler
