#pragma once

#include <string>

namespace wattle {

/// This host's name as the system tells it. Throws Error(kIo).
std::string host_name();

}  // namespace wattle
