#pragma once

#include <functional>
#include <string>

#include "common/error.h"

namespace wattle::contract {

/// The message of the Error that `call` throws, or "" if it throws none.
inline std::string refusal(const std::function<void()>& call) {
  try {
    call();
  } catch (const Error& e) {
    return e.what();
  }
  return "";
}

}  // namespace wattle::contract
