#include "scheduler/daemon/listening/open_files.h"

#include <fmt/format.h>
#include <sys/resource.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <limits>

#include "common/error.h"

namespace wattle::scheduler {
namespace {

[[noreturn]] void fail(const char* doing) {
  throw Error(ErrorCode::kIo,
              fmt::format("the limit of open files can't be {}: {}", doing, std::strerror(errno)));
}

rlimit limit_now() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) fail("read");
  return limit;
}

}  // namespace

int64_t open_files() {
  constexpr auto kMost = static_cast<rlim_t>(std::numeric_limits<int>::max());
  return static_cast<int64_t>(std::min(limit_now().rlim_cur, kMost));
}

void raise_open_files() {
  rlimit limit = limit_now();
  limit.rlim_cur = limit.rlim_max;
  if (::setrlimit(RLIMIT_NOFILE, &limit) != 0) fail("raised");
  if (open_files() >= kLeastOpenFiles) return;
  throw Error(
      ErrorCode::kConfig,
      fmt::format(
          "open files: expected a hard limit of at least {}, got {}: every agent and "
          "every client takes some; raise it (LimitNOFILE= of the systemd unit, ulimit -Hn, "
          "/etc/security/limits.conf)",
          kLeastOpenFiles, open_files()));
}

int64_t most_connections(int64_t open_files) {
  return std::min(open_files / 4 * 3, kMostConnections);
}

}  // namespace wattle::scheduler
