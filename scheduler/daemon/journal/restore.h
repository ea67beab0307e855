#pragma once

#include <memory>

#include "scheduler/core/core.h"
#include "scheduler/store/journal.h"

namespace wattle::scheduler {

/// A core as the journal left it.
struct RestoredCore {
  std::unique_ptr<Core> core;
  SnapshotHead snapshot;              ///< that it began with; number 0 without an id if none
  int64_t replayed = 0;               ///< records after the snapshot
  bool is_kept_by_this_core = false;  ///< the snapshot was written by a core of this fingerprint
};

/// The newest snapshot that is whole, and the records after it; for an empty journal a new core
/// with the options given. Throws Error(kFormat) naming the record, if the core decides otherwise
/// now than the journal says or a record is missing, and if no snapshot is whole. Decisions that
/// differ by rounding alone (core/journal/alike.h), as on another processor, are the same: the log
/// has a warning that names the first record with such, and the core goes on with its own numbers.
RestoredCore restore_core(Journal& journal, const CoreOptions& first_options);

/// Applies a record and throws Error(kFormat) unless its decisions are those of the record, to the
/// last byte.
void replay(Core& core, const JournalRecord& record);

/// The same, but decisions may differ by rounding: false if they do.
bool replay_but_for_rounding(Core& core, const JournalRecord& record);

/// Decisions as a record has them.
std::string decision_lines(const std::vector<Decision>& decisions);

}  // namespace wattle::scheduler
