#pragma once

#include <functional>

#include "parallel/communicator.h"

namespace wattle {

/// Runs `body` as `ranks` threads of this process, each with its communicator of CPU tensors; for
/// tests and small tools. Ranks that call different operations, or with different sizes or types,
/// all get Error(kCommunication), and so does who waits for a rank that has returned or thrown.
/// Returns when all threads have; throws what the first of them threw.
void run_as_threads(int ranks, const std::function<void(Communicator&)>& body);

}  // namespace wattle
