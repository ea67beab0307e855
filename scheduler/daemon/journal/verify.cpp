#include "scheduler/daemon/journal/verify.h"

#include <fmt/format.h>

#include <map>

#include "common/error.h"
#include "scheduler/core/journal/journal.h"
#include "scheduler/core/journal/state_text.h"
#include "scheduler/core/planning.h"
#include "scheduler/daemon/journal/restore.h"
#include "scheduler/store/store.h"

namespace wattle::scheduler {
namespace {

/// One snapshot and the records after it, up to the next.
class Segment {
 public:
  Segment(Journal& journal, const SnapshotHead& from, int64_t until)
      : journal_(journal),
        from_(from),
        until_(until),
        core_(state_from_text(journal.state_of(from))) {}

  void check(JournalCheck& check) {
    find_requests();
    each_record([&](const JournalRecord& record) {
      check.plans += begins_the_same_plan(record);
      replay(core_, record);
      keep_requests();
      ++check.records;
    });
  }

  const Core& core() const { return core_; }

 private:
  /// Stops reading by its end.
  template <class Take>
  void each_record(Take&& take) {
    journal_.read(from_.number, [&](const JournalRecord& record) {
      if (record.number <= until_) take(record);
    });
  }

  /// After which events plans were asked for, and at which moments. Of a plan whose first part
  /// stands before the snapshot the rest is not checked.
  void find_requests() {
    each_record([&](const JournalRecord& record) {
      const Event event = event_from_line(record.event);
      const auto* planned = std::get_if<Planned>(&event.body);
      if (planned && !planned->part) moments_[planned->seen_events] = planned->made_seconds;
    });
    keep_requests();
  }

  void keep_requests() {
    const auto moment = moments_.find(core_.state().events);
    if (moment == moments_.end()) return;
    requests_.emplace(moment->first, core_.request_plan(moment->second));
  }

  /// Throws if a plan or a part of one is not what is made now. True for first parts, false for
  /// those that follow, for what is no plan, and for what was asked for before the snapshot.
  bool begins_the_same_plan(const JournalRecord& record) {
    const Event event = event_from_line(record.event);
    const auto* planned = std::get_if<Planned>(&event.body);
    if (!planned) return false;
    if (!planned->part) plan_again(planned->seen_events);
    const auto part = static_cast<size_t>(planned->part.value_or(0));
    if (part >= parts_.size() || parts_[part].seen_events != planned->seen_events) return false;
    const std::string again = to_line(Event{event.time_seconds, parts_[part]});
    if (again == record.event) return !planned->part;
    throw Error(ErrorCode::kFormat,
                fmt::format("the journal's record {} is another plan than is made now:\n{}\nwhere "
                            "the journal says\n{}\n",
                            record.number, again, record.event));
  }

  void plan_again(int64_t seen_events) {
    parts_.clear();
    const auto request = requests_.find(seen_events);
    if (request == requests_.end()) return;
    parts_ = parts_of(make_plan(request->second));
    requests_.erase(requests_.begin(), std::next(request));
  }

  Journal& journal_;
  SnapshotHead from_;
  int64_t until_;
  Core core_;
  std::map<int64_t, double> moments_;
  std::map<int64_t, PlanRequest> requests_;
  std::vector<Planned> parts_;  ///< of the newest plan
};

void require_same_state(const Core& core, const std::string& kept, const SnapshotHead& head) {
  const std::string reached = to_text(core.state());
  if (reached == kept) return;
  const auto [a, b] = std::mismatch(reached.begin(), reached.end(), kept.begin(), kept.end());
  const auto at = static_cast<size_t>(a - reached.begin());
  const size_t from = at < 60 ? 0 : at - 60;
  throw Error(ErrorCode::kFormat,
              fmt::format("the state after record {} is another than the snapshot: replayed\n{}\n"
                          "where the snapshot says\n{}\n",
                          head.number, reached.substr(from, 120), kept.substr(from, 120)));
}

}  // namespace

JournalCheck verify_journal(const std::string& state_dir,
                            const std::function<void(const std::string&)>& say) {
  const auto database = Store::open_existing(state_dir + "/wattle.db");
  database->execute("BEGIN");  // one view, whatever a daemon does meanwhile
  Journal journal(*database);
  const std::vector<SnapshotHead> heads = journal.snapshots();
  if (heads.empty()) throw Error(ErrorCode::kFormat, state_dir + ": no snapshot is kept");
  JournalCheck check;
  for (size_t i = 0; i < heads.size(); ++i) {
    const SnapshotHead& head = heads[i];
    const bool is_last = i + 1 == heads.size();
    const int64_t until = is_last ? journal.newest() : heads[i + 1].number;
    const std::string span = until == head.number
                                 ? fmt::format("no records after {}", head.number)
                                 : fmt::format("records {} to {}", head.number + 1, until);
    if (head.program != core_fingerprint()) {
      check.others += until - head.number;
      say(fmt::format("{}: of version {}, this one is {}: not checked", span, head.program,
                      core_fingerprint()));
      continue;
    }
    Segment segment(journal, head, until);
    segment.check(check);
    if (segment.core().state().events != until) {
      throw Error(ErrorCode::kFormat, fmt::format("the journal: record {} is missing",
                                                  segment.core().state().events + 1));
    }
    if (!is_last && heads[i + 1].program == head.program) {
      require_same_state(segment.core(), journal.state_of(heads[i + 1]), heads[i + 1]);
      ++check.states;
    }
    say(fmt::format("{}: the same", span));
  }
  return check;
}

}  // namespace wattle::scheduler
