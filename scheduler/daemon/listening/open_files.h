#pragma once

#include <cstdint>

namespace wattle::scheduler {

/// What 1,000 agents take, each with its stream and a file on its way, with 1,000 clients beside
/// them: connections have three quarters of all.
inline constexpr int64_t kLeastOpenFiles = 4096;

/// As many as 10,000 agents and their clients have. One that has not shown its certificate yet
/// takes some 30 KB.
inline constexpr int64_t kMostConnections = 32768;

/// How many files this process may have open.
int64_t open_files();

/// Raises that as far as the system lets it go. Throws Error(kConfig), with what is needed, if it
/// is less than kLeastOpenFiles then.
void raise_open_files();

/// How many of so many open files connections may have: the rest is for the journal, uploads and
/// logs, which go on whoever connects.
int64_t most_connections(int64_t open_files);

}  // namespace wattle::scheduler
