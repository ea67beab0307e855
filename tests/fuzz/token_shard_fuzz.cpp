#include <sys/mman.h>
#include <unistd.h>
#include <xxhash.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "common/error.h"
#include "trainer/data/tokens/token_shard.h"

namespace {

// Where the checksums of a shard stand, see docs/DATA.md.
constexpr size_t kHeaderBytes = 64;
constexpr size_t kHeaderChecksum = 56;
constexpr size_t kBlockBytes = 64 << 10;

uint64_t hash_of(const std::vector<uint8_t>& bytes, size_t first, size_t end) {
  return XXH3_64bits(bytes.data() + first, end - first);
}

void store(std::vector<uint8_t>& bytes, size_t at, uint64_t value) {
  std::memcpy(bytes.data() + at, &value, sizeof value);
}

/// Puts right checksums where those of a shard of this size would stand: a fuzzer never hits one by
/// chance, and would see nothing of what lies behind them.
void repair(std::vector<uint8_t>& bytes) {
  if (bytes.size() < kHeaderBytes) return;
  store(bytes, kHeaderChecksum, hash_of(bytes, 0, kHeaderChecksum));
  uint32_t token_bytes = 0;
  uint64_t count = 0;
  std::memcpy(&token_bytes, bytes.data() + 12, sizeof token_bytes);
  std::memcpy(&count, bytes.data() + 16, sizeof count);
  const size_t most = bytes.size() - kHeaderBytes;
  if (token_bytes == 0 || token_bytes > 8 || count > most / token_bytes) return;
  const size_t data = count * token_bytes;
  const size_t blocks = (data + kBlockBytes - 1) / kBlockBytes;
  const size_t table = kHeaderBytes + (data + 7) / 8 * 8;
  if (table + (blocks + 1) * 8 > bytes.size()) return;
  for (size_t block = 0; block < blocks; ++block) {
    const size_t first = kHeaderBytes + block * kBlockBytes;
    const size_t end = std::min(first + kBlockBytes, kHeaderBytes + data);
    store(bytes, table + 8 * block, hash_of(bytes, first, end));
  }
  store(bytes, table + 8 * blocks, hash_of(bytes, table, table + 8 * blocks));
}

/// Opens the bytes as a file and reads every token.
void read(const std::vector<uint8_t>& bytes) {
  const int fd = ::memfd_create("shard", MFD_CLOEXEC);
  if (fd < 0 || ::write(fd, bytes.data(), bytes.size()) != static_cast<ssize_t>(bytes.size())) {
    std::abort();
  }
  try {
    const wattle::TokenShard shard("/proc/self/fd/" + std::to_string(fd));
    std::vector<int64_t> tokens(static_cast<size_t>(shard.info().count));
    shard.read(0, tokens);
  } catch (const wattle::Error& error) {
    if (error.code() != wattle::ErrorCode::kFormat) throw;
  }
  ::close(fd);
}

}  // namespace

/// Any bytes are read or give an Error(kFormat), with their own checksums and with right ones;
/// nothing else is caught.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::vector<uint8_t> bytes(data, data + size);
  read(bytes);
  repair(bytes);
  read(bytes);
  return 0;
}
