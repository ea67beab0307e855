#pragma once

#include <memory>
#include <string>
#include <string_view>

namespace wattle::scheduler {

/// SHA-256 (FIPS 180-4) of bytes that come in pieces. One thread at a time. Throws
/// Error(kInternal) if OpenSSL refuses.
class Sha256 {
 public:
  Sha256();
  ~Sha256();
  void add(std::string_view bytes);
  /// 64 lower-case hexadecimal digits. Ends it: nothing may be added any more.
  std::string digits();

 private:
  struct Context;
  std::unique_ptr<Context> context_;
};

std::string sha256_of(std::string_view bytes);

}  // namespace wattle::scheduler
