#pragma once

#include <functional>
#include <string>

namespace wattle::scheduler {

/// What was checked.
struct JournalCheck {
  int64_t records = 0;  ///< applied again: the same decisions
  int64_t plans = 0;    ///< made again: the same plans
  int64_t states = 0;   ///< reached again: the same snapshots
  int64_t others = 0;   ///< records of other versions of the program, which only they can check
};

/// Replays what is kept of a daemon's journal, from each snapshot to the next and to the end, and
/// compares all bytes: decisions, the plans among the events, and the states of the snapshots. A
/// daemon may work in the folder meanwhile. `say` gets a line for each snapshot.
///
/// Throws Error(kFormat) at the first difference, naming the record; Error(kConfig) for a folder
/// without a journal.
JournalCheck verify_journal(const std::string& state_dir,
                            const std::function<void(const std::string&)>& say);

}  // namespace wattle::scheduler
