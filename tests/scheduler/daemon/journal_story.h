#pragma once

#include <fmt/format.h>
#include <gmock/gmock.h>

#include <string>
#include <vector>

#include "common/error.h"
#include "scheduler/core/journal/state_text.h"
#include "scheduler/daemon/journal/journalled_core.h"
#include "scheduler/daemon/journal/verify.h"
#include "tests/support/scratch_folder.h"

namespace wattle::scheduler {

/// A journal in a folder, and a core that writes it: with words for what happens.
class JournalStory : public testing::Test {
 protected:
  JournalStory() { options_.cap_watts = 2000; }

  std::string path() const { return folder_.path("wattle.db"); }
  void edit(const std::string& sql) { Database(path()).execute(sql); }
  /// As after a kill: the state of the end was not kept.
  void forget_the_end() { edit("DELETE FROM snapshot WHERE reason = 'end'"); }

  /// Opens, lets `events` happen, and gives the state that was reached.
  template <class Events>
  std::string live(Events&& events) {
    Store store(path());
    JournalledCore core(
        store, options_, limits_, [this] { return now_ += 0.1; },
        [](const Event&, const std::vector<Decision>&) {});
    events(core);
    return core.read([](const Core& c) { return to_text(c.state()); });
  }
  std::string live() {
    return live([](JournalledCore&) {});
  }

  static Submit job(int number) {
    Submit submit;
    submit.request_id = submit.name = fmt::format("job{}", number);
    submit.spec.tenant = "team-a";
    submit.spec.ranks = {1, 2};
    submit.work = {100, "", {}, 1};
    return submit;
  }
  static NodeUp node(int64_t epoch) { return {"n", epoch, {{{"V100", 25, 100, 250}, 4, 60}}, {}}; }
  void submit(JournalledCore& core, int from, int count) {
    for (int i = from; i < from + count; ++i) core.apply(job(i));
  }

  static int64_t newest_snapshot(JournalledCore& core) {
    return core.read_store([](Store& store) { return store.journal().snapshots().back().number; });
  }

  std::vector<SnapshotHead> snapshots() {
    Store store(path());
    return store.journal().snapshots();
  }
  std::vector<std::string> reasons() {
    std::vector<std::string> found;
    for (const SnapshotHead& head : snapshots()) found.push_back(head.reason);
    return found;
  }
  std::vector<int64_t> records() {
    Store store(path());
    std::vector<int64_t> found;
    store.journal().read(0, [&](const JournalRecord& r) { found.push_back(r.number); });
    return found;
  }

  /// "" or why the core refuses what an event asks for.
  static std::string why_refused(JournalledCore& core, EventBody event) {
    for (const Decision& decision : core.apply(std::move(event))) {
      if (const auto* refused = std::get_if<Refused>(&decision)) return refused->why;
    }
    return "";
  }

  /// "" or why the core does not take an event.
  static std::string fault_of(JournalledCore& core, EventBody event,
                              const JournalledCore::Attachment& attach = {}) {
    try {
      core.apply(std::move(event), attach);
    } catch (const std::exception& e) {
      return e.what();
    }
    return "";
  }
  std::vector<std::string> audited() {
    std::vector<std::string> who;
    Database database(path());
    Statement all(database, "SELECT who FROM audit");
    while (all.step()) who.push_back(all.text(0));
    return who;
  }

  /// "" or what the check says is wrong.
  std::string fault() {
    try {
      check_ = verify_journal(folder_.path(), [this](const std::string& line) { said_ = line; });
    } catch (const Error& e) {
      return e.what();
    }
    return "";
  }
  std::string start_fault() {
    try {
      live();
    } catch (const Error& e) {
      return e.what();
    }
    return "";
  }

  ScratchFolder folder_;
  CoreOptions options_;
  JournalLimits limits_;
  double now_ = 1.8e9;
  JournalCheck check_;
  std::string said_;
};

}  // namespace wattle::scheduler
