#pragma once

#include <string>

namespace wattle::scheduler {

/// A random name, of 32 hexadecimal digits.
std::string random_id();

}  // namespace wattle::scheduler
