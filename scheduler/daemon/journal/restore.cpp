#include "scheduler/daemon/journal/restore.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <utility>

#include "common/error.h"
#include "scheduler/core/journal/alike.h"
#include "scheduler/core/journal/journal.h"
#include "scheduler/core/journal/state_text.h"

namespace wattle::scheduler {
namespace {

/// Nothing if there is none at all.
std::optional<SnapshotHead> newest_whole(Journal& journal, std::unique_ptr<Core>& core) {
  const std::vector<SnapshotHead> heads = journal.snapshots();
  for (auto head = heads.rbegin(); head != heads.rend(); ++head) {
    std::string state;
    try {
      state = journal.state_of(*head);
    } catch (const Error& e) {
      if (e.code() != ErrorCode::kFormat) throw;
      spdlog::warn("{}; the one before it is taken", e.what());
      continue;
    }
    core = std::make_unique<Core>(state_from_text(state));
    return *head;
  }
  if (!heads.empty()) throw Error(ErrorCode::kFormat, "the journal: no snapshot is whole");
  return std::nullopt;
}

void require_empty(Journal& journal) {
  journal.read(0, [](const JournalRecord& record) {
    throw Error(ErrorCode::kFormat,
                fmt::format("the journal begins with record {} and has no snapshot: a wattled from "
                            "before there were snapshots has written it; begin a new state_dir",
                            record.number));
  });
}

/// Applies a record, and gives what the core decides now.
std::string decide_again(Core& core, const JournalRecord& record) {
  if (record.number != core.state().events + 1) {
    throw Error(ErrorCode::kFormat,
                fmt::format("the journal: record {} is missing", core.state().events + 1));
  }
  return decision_lines(core.apply(event_from_line(record.event)));
}

[[noreturn]] void refuse(const JournalRecord& record, const std::string& decided) {
  throw Error(ErrorCode::kFormat,
              fmt::format("the journal's record {} can't be replayed: the core decides\n{}where "
                          "the journal says\n{}",
                          record.number, decided, record.decisions));
}

/// Warns of the first record alone.
void replay_all(Journal& journal, RestoredCore& restored) {
  bool is_warned = false;
  journal.read(restored.snapshot.number, [&](const JournalRecord& record) {
    const bool is_same = replay_but_for_rounding(*restored.core, record);
    ++restored.replayed;
    if (is_same || std::exchange(is_warned, true)) return;
    spdlog::warn(
        "the journal's record {} has numbers that are rounded otherwise now: another processor or "
        "library has made them; goes on with those of now",
        record.number);
  });
}

}  // namespace

std::string decision_lines(const std::vector<Decision>& decisions) {
  std::string lines;
  for (const Decision& decision : decisions) lines += to_line(decision) + "\n";
  return lines;
}

void replay(Core& core, const JournalRecord& record) {
  const std::string decided = decide_again(core, record);
  if (decided != record.decisions) refuse(record, decided);
}

bool replay_but_for_rounding(Core& core, const JournalRecord& record) {
  const std::string decided = decide_again(core, record);
  if (decided == record.decisions) return true;
  if (!alike_but_for_rounding(decided, record.decisions)) refuse(record, decided);
  return false;
}

RestoredCore restore_core(Journal& journal, const CoreOptions& first_options) {
  RestoredCore restored;
  const auto head = newest_whole(journal, restored.core);
  if (!head) {
    require_empty(journal);
    restored.core = std::make_unique<Core>(first_options);
    return restored;
  }
  restored.snapshot = *head;
  restored.is_kept_by_this_core = head->program == core_fingerprint();
  try {
    replay_all(journal, restored);
  } catch (const Error& e) {
    if (restored.is_kept_by_this_core || e.code() != ErrorCode::kFormat) throw;
    throw Error(ErrorCode::kFormat,
                fmt::format("{}(another version of wattled, {}, has written it and was not ended "
                            "in good order: start that one once more and end it with SIGTERM)",
                            e.what(), head->program));
  }
  return restored;
}

}  // namespace wattle::scheduler
