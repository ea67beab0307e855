#include "launch/train/early_error.h"

#include <chrono>
#include <cstdlib>
#include <iostream>
#include <string_view>
#include <thread>

namespace wattle {
namespace {

constexpr std::chrono::seconds kFirstRankSpeaksWithin{8};

/// From mpirun's environment; "0" in a process that was started without it.
std::string_view rank() {
  const char* value = std::getenv("OMPI_COMM_WORLD_RANK");
  return value == nullptr ? "0" : value;
}

}  // namespace

bool is_first_rank() { return rank() == "0"; }

void say_early_error(const std::string& message) {
  if (is_first_rank()) {
    std::cerr << message << std::endl;
    return;
  }
  std::this_thread::sleep_for(kFirstRankSpeaksWithin);
  std::cerr << "rank " << rank() << ": " << message << std::endl;
}

}  // namespace wattle
