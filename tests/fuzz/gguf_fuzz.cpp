#include <cstddef>
#include <cstdint>
#include <span>

#include "common/error.h"
#include "formats/gguf/gguf.h"

/// Any bytes parse or give an Error(kFormat); nothing else is caught.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  try {
    wattle::parse_gguf(std::as_bytes(std::span(data, size)), "fuzz");
  } catch (const wattle::Error& error) {
    if (error.code() != wattle::ErrorCode::kFormat) throw;
  }
  return 0;
}
