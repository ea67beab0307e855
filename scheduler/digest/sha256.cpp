#include "scheduler/digest/sha256.h"

#include <fmt/format.h>
#include <openssl/evp.h>

#include "common/error.h"

namespace wattle::scheduler {
namespace {

void require(int result) {
  if (result != 1) throw Error(ErrorCode::kInternal, "SHA-256: OpenSSL refuses it");
}

}  // namespace

struct Sha256::Context {
  std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> of{EVP_MD_CTX_new(), EVP_MD_CTX_free};
};

Sha256::Sha256() : context_(std::make_unique<Context>()) {
  require(context_->of != nullptr && EVP_DigestInit_ex(context_->of.get(), EVP_sha256(), nullptr));
}

Sha256::~Sha256() = default;

void Sha256::add(std::string_view bytes) {
  require(EVP_DigestUpdate(context_->of.get(), bytes.data(), bytes.size()));
}

std::string Sha256::digits() {
  unsigned char bytes[EVP_MAX_MD_SIZE];
  unsigned count = 0;
  require(EVP_DigestFinal_ex(context_->of.get(), bytes, &count));
  return fmt::format("{:02x}", fmt::join(bytes, bytes + count, ""));
}

std::string sha256_of(std::string_view bytes) {
  Sha256 digest;
  digest.add(bytes);
  return digest.digits();
}

}  // namespace wattle::scheduler
