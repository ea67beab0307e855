#pragma once

#include <string>

namespace wattle {

/// Whether this process is the job's first rank, or runs alone. Known before MPI starts.
bool is_first_rank();

/// Says, on standard error and once for the job, what stops it before MPI has started.
///
/// The ranks read the same files, so most mistakes stop all of them, each by itself, and the first
/// rank's word is enough. mpirun ends a job at the first exit that isn't 0: another rank that left
/// at once could have the first one killed before it spoke. So other ranks wait to be ended that
/// way; one that still runs after `kFirstRankSpeaksWithin` has met what the first did not (a file
/// that is missing on its node alone), and says so with its rank.
void say_early_error(const std::string& message);

}  // namespace wattle
