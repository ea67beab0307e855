#include "scheduler/core/journal/state_text.h"

#include <fmt/format.h>
#include <gmock/gmock.h>

#include <regex>

#include "common/error.h"
#include "scheduler/core/journal/codec.h"
#include "scheduler/core/journal/journal.h"
#include "tests/scheduler/core/fake_cluster.h"

namespace wattle::scheduler {
namespace {

using testing::HasSubstr;

const DeviceType kV100{"V100", 25, 100, 250}, kCpu{"cpu \"16\"", 5, 10, 60};

CoreOptions options_of(const std::string& policy) {
  CoreOptions options;
  options.cap_watts = 2400;
  options.policy.name = policy;
  return options;
}

/// What the engine keeps up to date beside the rest is what follows from the rest.
void expect_nothing_but_what_follows(const State& state, const State& read_back) {
  EXPECT_EQ(state.waiting, read_back.waiting);
  EXPECT_EQ(state.running, read_back.running);
  EXPECT_EQ(state.job_of_token, read_back.job_of_token);
  EXPECT_EQ(state.jobs_of_request, read_back.jobs_of_request);
  EXPECT_EQ(state.unended_jobs, read_back.unended_jobs);
  EXPECT_EQ(state.node_by_name, read_back.node_by_name);
  EXPECT_EQ(state.lost_nodes, read_back.lost_nodes);
  EXPECT_EQ(state.installed, read_back.installed);
  EXPECT_EQ(state.up, read_back.up);
  EXPECT_EQ(state.widest, read_back.widest);
  EXPECT_EQ(state.ended.kept_bytes(), read_back.ended.kept_bytes());
  EXPECT_EQ(state.dependencies.pairs(), read_back.dependencies.pairs());
  for (int type = 0; type < static_cast<int>(state.types.size()); ++type) {
    EXPECT_EQ(state.pool.free(type), read_back.pool.free(type)) << type;
  }
}

/// A random history with everything that users, operators and agents can do; its state is kept
/// before every third act.
class Recording {
 public:
  struct Kept {
    size_t events = 0, decisions = 0;
    std::string text;
  };

  Recording(const std::string& policy, uint64_t seed) : cluster(options_of(policy), seed) {
    cluster.keep_journal = true;
    cluster.network = {0.01, 4, 0.2};
    cluster.planning_seconds = 2;
    for (int n = 0; n < kNodes; ++n) {
      cluster.add_node(node_name(n), n % 2 ? DeviceGroup{kV100, 4, 60} : DeviceGroup{kCpu, 3, 10});
    }
    for (int act = 0; act < 60; ++act) {
      if (act % 3 == 0) keep();
      do_something();
      cluster.run(3);
    }
    keep();
  }

  FakeCluster cluster;
  std::vector<Kept> kept;

 private:
  static constexpr int kNodes = 5;

  static std::string node_name(int n) { return fmt::format("n{}", n); }
  int pick(int count) { return static_cast<int>(cluster.uniform(0, count)); }
  double soon() { return cluster.now() + cluster.uniform(5, 40); }

  void keep() {
    const State& state = cluster.core.state();
    kept.push_back({cluster.event_lines.size(), cluster.decision_lines.size(), to_text(state)});
    expect_nothing_but_what_follows(state, *state_from_text(kept.back().text));
  }

  void submit() {
    const int ranks = 1 + pick(6), number = ++jobs_;
    cluster.submit(fmt::format("job{}", number), std::min(ranks, 2), ranks,
                   cluster.uniform(10, 120), [&](Submit& s) {
                     s.spec.tenant = fmt::format("team \xc3\xa9{}", number % 3);
                     s.spec.priority = number % 4;
                     if (number % 2) s.work.kind = fmt::format("kind{}", number % 5);
                     if (number % 5 == 0) s.spec.energy_budget_joules = 9000;
                     if (number % 4 == 0) s.spec.deadline = "1970-01-01T00:40:00Z";
                     if (number % 6 == 0) s.spec.sweep.grid = {{"a.b", {"1", "2"}}};
                     if (number % 7 == 0) s.spec.after = {std::to_string(number - 1)};
                   });
  }

  void do_something() {
    const std::string node = node_name(pick(kNodes));
    switch (pick(12)) {
      case 0:
        return cluster.cut_off(node);
      case 1:
        return cluster.power_off(node);
      case 2:
        cluster.measure_idle(node, cluster.uniform(3, 8));
        return cluster.reconnect(node);
      case 3:
        return cluster.reconnect(node);
      case 4:
        cluster.apply(CapSet{"cap", cluster.uniform(900, 3000), CapTier::kHard, {}, {}});
        return;
      case 5:
        cluster.apply(CapSet{"cap", cluster.uniform(900, 3000),
                             pick(2) ? CapTier::kHard : CapTier::kSoft, soon(), soon() + 60});
        return;
      case 6:
        cluster.apply(BudgetSet{fmt::format("team \xc3\xa9{}", pick(3)), cluster.uniform(5e3, 1e5),
                                100, 1 + cluster.uniform(0, 2)});
        return;
      case 7:
        cluster.apply(Drain{node, pick(2) == 0});
        return;
      case 8:
        cluster.apply(Configured{pick(2) ? "energy" : "backfill", cluster.uniform(0, 1), 6, 20,
                                 /*history_seconds=*/60, /*history_bytes=*/pick(3) * 8000});
        return;
      case 9:
        if (jobs_ > 0) cluster.apply(Cancel{1 + pick(jobs_)});
        return;
      default:
        return submit();
    }
  }

  int jobs_ = 0;
};

class StateText : public testing::TestWithParam<const char*> {};

/// From every state that was kept, the events after it give the same decisions and the same states.
TEST_P(StateText, AStateThatIsReadBackGoesOnToTheSameBytes) {
  for (uint64_t seed = 1; seed <= 8; ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    const Recording past(GetParam(), seed);
    ASSERT_GT(past.cluster.decision_lines.size(), 50u);
    for (size_t from = 0; from + 1 < past.kept.size(); from += 4) {
      Core core(state_from_text(past.kept[from].text));
      size_t decided = past.kept[from].decisions;
      for (size_t next = from; next + 1 < past.kept.size(); ++next) {
        ASSERT_EQ(to_text(core.state()), past.kept[next].text) << "kept " << from << ", " << next;
        for (size_t e = past.kept[next].events; e < past.kept[next + 1].events; ++e) {
          for (const Decision& d : core.apply(event_from_line(past.cluster.event_lines[e]))) {
            ASSERT_EQ(to_line(d), past.cluster.decision_lines.at(decided++)) << "event " << e;
          }
        }
        ASSERT_EQ(decided, past.kept[next + 1].decisions);
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Policies, StateText, testing::Values("fifo", "energy"),
                         [](const auto& info) { return std::string(info.param); });

std::string edited(std::string text, const std::string& from, const std::string& to) {
  const size_t at = text.find(from);
  EXPECT_NE(at, std::string::npos) << from;
  return text.replace(at, from.size(), to);
}

std::string fault_of(const std::string& text) {
  try {
    state_from_text(text);
  } catch (const Error& e) {
    return e.what();
  }
  return "";
}

TEST(StateFile, NamesWhatItCanNotRead) {
  const std::string text = to_text(Core(options_of("energy")).state());
  EXPECT_EQ(fault_of(text), "");
  EXPECT_THAT(fault_of(edited(text, "state 1", "state 7")), HasSubstr("got 'wattle-core-state 7'"));
  EXPECT_THAT(fault_of(edited(text, "last_job 0", "last_job x")),
              HasSubstr("last_job: has the wrong type"));
  EXPECT_THAT(fault_of(text + "colour \"red\"\n"), HasSubstr("colour: is unknown"));
  EXPECT_THAT(fault_of(edited(text, "\"eta\":", "\"theta\":")),
              HasSubstr("options.policy: has unknown keys"));
  EXPECT_THAT(fault_of(""), HasSubstr("expected 'wattle-core-state 1'"));
}

TEST(StateFile, FieldsThatAnOlderProgramDidNotKnowHaveTheirDefaults) {
  const std::string text = to_text(Core(options_of("energy")).state());
  const auto state = state_from_text(edited(text, "\"aging_seconds\":3600,", ""));
  EXPECT_EQ(to_text(*state), text);
}

TEST(StateFile, RunsOfAnOlderProgramClaimTheirJoulesSinceTheyBegan) {
  const Recording past("energy", 3);
  const State& state = past.cluster.core.state();
  ASSERT_FALSE(state.running.empty());
  std::string text = to_text(state);
  const std::regex claim(",\"claims_since_seconds\":[^,}]*");
  text = std::regex_replace(text, claim, "");
  const auto older = state_from_text(text);
  for (const JobId id : state.running) {
    const Job& job = older->jobs.at(id);
    EXPECT_EQ(job.claims_since_seconds, job.run->started_seconds);
  }
}

TEST(StateFile, InPiecesItIsTheSame) {
  const Recording past("energy", 3);
  const State& state = past.cluster.core.state();
  const std::string text = to_text(state);
  for (const size_t bytes :
       {size_t{1}, size_t{700}, text.size() - 1, text.size(), text.size() + 1}) {
    size_t pieces = 0;
    std::string whole;
    write_pieces(state, bytes, [&](std::string_view piece) {
      EXPECT_LE(piece.size(), bytes);
      ++pieces;
      whole += piece;
    });
    EXPECT_EQ(pieces, (text.size() + bytes - 1) / bytes);
    EXPECT_EQ(whole, text) << bytes;
  }
}

TEST(StateFile, AListThatIsNoneIsNamed) {
  const std::string text = to_text(Core(options_of("energy")).state());
  for (const char* wrong : {"", "[", "7", "[]]", "[1", "[,]", "[1,]", "[[1,2]", "[\"]"}) {
    EXPECT_THAT(fault_of(edited(text, "to_adjust []", fmt::format("to_adjust {}", wrong))),
                HasSubstr("to_adjust"))
        << wrong;
  }
  EXPECT_EQ(fault_of(edited(text, "to_adjust []", "to_adjust [1,2]")), "");
}

/// A job with overrides that was handed in and answered.
struct Answered {
  Answered() : core(options_of("energy")) {
    Submit submit;
    submit.request_id = "r \"1\"";
    submit.name = "sweep";
    submit.spec.sweep.grid = {{"a.b", {"[1, \\\"2]}"}}};
    decided = std::get<Accepted>(core.apply({1, submit}).front());
  }
  Core core;
  Accepted decided;
};

TEST(StateFile, WhatWasAnsweredIsKeptOnceAndReadWhole) {
  const Answered a;
  ASSERT_EQ(a.decided.overrides.size(), 1u);
  EXPECT_EQ(to_line(acceptance_of(a.core.state(), 1).value()), to_line(a.decided));
  EXPECT_TRUE(a.core.state().acceptances.at(1).overrides.empty());
  const auto read = state_from_text(to_text(a.core.state()));
  EXPECT_EQ(to_line(acceptance_of(*read, 1).value()), to_line(a.decided));
  EXPECT_FALSE(acceptance_of(*read, 2));
}

TEST(StateFile, WhatAnOlderProgramHasTwiceIsReadOnce) {
  const Answered a;
  const std::string text = to_text(a.core.state());
  std::string twice, once;
  codec::write(twice, a.decided);
  codec::write(once, a.core.state().acceptances.at(1));
  const auto read = state_from_text(edited(text, once, twice));
  EXPECT_EQ(to_text(*read), text);
  EXPECT_EQ(to_line(acceptance_of(*read, 1).value()), to_line(a.decided));
}

TEST(StateFile, NumbersThatJsonDoesNotKnowComeBack) {
  Core core(options_of("energy"));
  core.apply({1, CapSet{"soft", 900, CapTier::kSoft, 5.0, 9.0}});  // none outside of the window
  const std::string text = to_text(core.state());
  EXPECT_THAT(text, HasSubstr("\"base_watts\":\"inf\""));
  EXPECT_EQ(to_text(*state_from_text(text)), text);
}

TEST(CoreFingerprint, IsAHash) {
  EXPECT_THAT(core_fingerprint(), testing::MatchesRegex("[0-9a-f]{16}"));
}

}  // namespace
}  // namespace wattle::scheduler
