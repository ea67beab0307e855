#include "scheduler/core/jobs/dependencies.h"

#include <fmt/format.h>
#include <gmock/gmock.h>

#include <random>

#include "scheduler/core/journal/journal.h"
#include "scheduler/core/journal/state_text.h"
#include "scheduler/core/planning.h"
#include "tests/scheduler/core/core_story.h"

namespace wattle::scheduler {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

/// A cluster with devices for all jobs, which run until they are told to end. A twin, which at
/// times goes on from the text of the state, has to decide the same.
class Dependency : public testing::Test {
 protected:
  Dependency() {
    decide(NodeUp{"n", 1, {{kV100, 200, 60}}, {}, true});
    reread();
  }

  static CoreOptions options() {
    CoreOptions options;
    options.cap_watts = 1e6;
    options.policy.name = "fifo";
    return options;
  }

  std::vector<Decision> decide(decltype(Event::body) body) {
    const Event event{now_, std::move(body)};
    const std::vector<Decision> decisions = core_.apply(event);
    if (!twin_) return decisions;
    std::vector<std::string> lines, twin_lines;
    for (const Decision& decision : decisions) lines.push_back(to_line(decision));
    for (const Decision& decision : twin_->apply(event)) twin_lines.push_back(to_line(decision));
    EXPECT_EQ(lines, twin_lines);
    return decisions;
  }

  void reread() {
    twin_ = std::make_unique<Core>(state_from_text(to_text(state())));
    for (const auto& [id, job] : twin_->state().jobs) {
      EXPECT_EQ(job.is_dependent, state().jobs.at(id).is_dependent) << id;
    }
  }

  /// Why it was refused; "" if it was not.
  std::string submit(const std::string& name, size_t jobs, std::vector<std::string> after,
                     const std::string& user = "ada", const std::string& tenant = "team-a") {
    Submit submit;
    submit.request_id = submit.name = name;
    submit.spec.tenant = tenant;
    submit.submitter.user = user;
    submit.spec.after = std::move(after);
    if (jobs > 1) submit.spec.sweep.list.assign(jobs, {{"run.seed", "1"}});
    for (const Decision& decision : decide(submit)) {
      if (const auto* refused = std::get_if<Refused>(&decision)) return refused->why;
    }
    return "";
  }

  /// All that may run does.
  void start() {
    now_ += 100;
    for (Planned& part : parts_of(make_plan(core_.request_plan(now_)))) decide(std::move(part));
  }
  void end(JobId id, int exit_code) {
    ASSERT_TRUE(job(id).run) << core_.explain(id);
    decide(JobExited{"n", 1, job(id).run->token, exit_code, 10});
  }
  void complete(JobId id) { end(id, 0); }

  const State& state() const { return core_.state(); }
  const Job& job(JobId id) const { return state().jobs.at(id); }
  const std::vector<JobId>& after(JobId id) const { return state().dependencies.after(id); }
  bool runs(JobId id) const { return job(id).run.has_value(); }

  double now_ = 1000;
  Core core_{options()};
  std::unique_ptr<Core> twin_;
};

TEST_F(Dependency, ASweepFollowsASweepInWhateverOrderItsJobsEnd) {
  submit("first", 3, {});
  submit("second", 2, {"first"});
  submit("third", 2, {"second", "first[1]"});
  start();
  complete(2);
  reread();
  complete(3);
  start();
  EXPECT_THAT(after(4), ElementsAre(1));
  EXPECT_FALSE(runs(4) || runs(5));
  complete(1);
  EXPECT_EQ(job(4).eligible_seconds, now_);
  EXPECT_EQ(job(4).reason, Reason::kNone);
  start();
  EXPECT_TRUE(runs(4) && runs(5));
  EXPECT_THAT(after(6), ElementsAre(4, 5));
  complete(5), reread(), complete(4), start();
  EXPECT_TRUE(runs(6) && runs(7));
  EXPECT_EQ(state().dependencies.pairs(), 0);
}

TEST_F(Dependency, AJobThatFailsHoldsBackThoseThatWaitForItAndNoOthers) {
  submit("first", 3, {});
  submit("of-all", 2, {"first"});
  submit("of-one", 1, {"1"});
  submit("of-those", 1, {"of-all"});
  start();
  end(2, 1);
  EXPECT_EQ(job(4).reason, Reason::kDependencyNeverSatisfied);
  EXPECT_EQ(job(5).explanation, "waits for job 2 (FAILED)");
  EXPECT_EQ(job(6).reason, Reason::kDependency);
  EXPECT_EQ(job(7).reason, Reason::kDependency) << "what it waits for has not ended";
  reread();
  complete(1), complete(3), start();
  EXPECT_TRUE(runs(6));
  EXPECT_FALSE(runs(4));
  EXPECT_THAT(after(4), ElementsAre(2));
  submit("late", 1, {"first"});
  EXPECT_EQ(job(8).reason, Reason::kDependencyNeverSatisfied);
}

TEST_F(Dependency, ACancelledJobWaitsForNothingAndIsMissedByThoseThatWaitForIt) {
  submit("first", 2, {});
  submit("second", 2, {"first"});
  submit("third", 1, {"second"});
  decide(Cancel{3});
  EXPECT_THAT(after(3), IsEmpty());
  EXPECT_EQ(job(5).explanation, "waits for job 3 (CANCELLED)");
  EXPECT_THAT(state().dependencies.waiting_for(1), ElementsAre(4));
  reread();
  decide(Cancel{4}), decide(Cancel{5});
  EXPECT_EQ(state().dependencies.pairs(), 0);
  for (JobId id = 1; id <= 5; ++id) EXPECT_FALSE(state().dependencies.is_waited_for(id)) << id;
}

TEST_F(Dependency, WhatIsCompletedIsNotWaitedFor) {
  submit("first", 2, {});
  start(), complete(1), complete(2);
  submit("second", 1, {"first"});
  EXPECT_EQ(state().dependencies.pairs(), 0);
  EXPECT_EQ(job(3).reason, Reason::kNone);
  start();
  EXPECT_TRUE(runs(3));
}

TEST_F(Dependency, ExplainNamesAJobThatIsWaitedForNow) {
  submit("first", 3, {});
  submit("second", 1, {"first"});
  EXPECT_THAT(core_.explain(4), HasSubstr("waits for job 1 (PENDING) and 2 more\n"));
  start(), complete(1);
  EXPECT_THAT(core_.explain(4), HasSubstr("(Dependency): waits for job 2 (RUNNING) and 1 more\n"));
  complete(3);
  EXPECT_THAT(core_.explain(4), HasSubstr("(Dependency): waits for job 2 (RUNNING)\n"));
}

TEST_F(Dependency, AStateOfAnOlderProgramHasThemWithTheJobs) {
  submit("first", 3, {});
  submit("second", 2, {"first"});
  start(), complete(1);
  std::string text = to_text(state());
  const size_t line = text.find("\ndependencies ");
  text.erase(line, text.find('\n', line + 1) - line);
  const std::string now = "waits for job 1 (PENDING)\",\"after\":[";
  for (size_t at = 0; (at = text.find(now, at)) != std::string::npos; at += now.size()) {
    text.insert(at + now.size(), "1,2,3");
  }
  twin_ = std::make_unique<Core>(state_from_text(text));
  EXPECT_THAT(twin_->state().dependencies.after(5), ElementsAre(2, 3)) << "1 is completed";
  EXPECT_EQ(twin_->state().dependencies.pairs(), 4);
  complete(3), complete(2), start();
  EXPECT_TRUE(runs(4) && runs(5));
}

/// A million pairs, and it holds a list of a thousand.
TEST_F(Dependency, WhatASweepWaitsForIsKeptOnce) {
  twin_.reset();
  submit("first", 1000, {});
  const size_t before = to_text(state()).size();
  submit("second", 1000, {});
  const size_t apart = to_text(state()).size() - before;
  submit("third", 1000, {"first"});
  const size_t after = to_text(state()).size() - before - apart;
  EXPECT_EQ(state().dependencies.pairs(), 1'000'000);
  EXPECT_LT(after, apart + 300'000) << "a reason and a remark for each";
}

TEST_F(Dependency, AllUsersTogetherHaveABound) {
  twin_.reset();
  submit("first", 1000, {});
  for (int user = 0; user < 10; ++user) {
    const std::string name = fmt::format("user{}", user);
    ASSERT_EQ(submit(name, 1000, {"first"}, name), "");
  }
  EXPECT_THAT(submit("late", 1, {"1"}, "eve"),
              HasSubstr("each of 1 jobs would wait for 1 others, and 10000000 such pairs are there "
                        "of all users, at most 10000000 are taken"));
  EXPECT_EQ(submit("free", 1, {}, "eve"), "");
  decide(Cancel{1001});
  EXPECT_EQ(submit("late", 1, {"1"}, "eve"), "");
}

/// Random jobs that wait for one another and end in random ways, and what a walk over all of them
/// says.
class RandomDependencies : public Dependency {
 protected:
  int pick(int count) { return static_cast<int>(random_() % static_cast<unsigned>(count)); }

  void submit_any() {
    const int tenant = pick(2);
    const std::string name = fmt::format("job{}", ++submits_);
    std::vector<std::string> names;
    std::set<JobId> jobs;
    for (int i = pick(4); i > 0 && !named_[tenant].empty(); --i) {
      const auto& [other, ids] = named_[tenant][pick(static_cast<int>(named_[tenant].size()))];
      const bool is_one = pick(2) == 0;
      names.push_back(is_one ? std::to_string(ids.back()) : other);
      if (is_one) jobs.insert(ids.back());
      if (!is_one) jobs.insert(ids.begin(), ids.end());
    }
    const JobId before = state().last_job;
    ASSERT_EQ(submit(name, 1 + pick(4), names, fmt::format("user{}", pick(3)),
                     fmt::format("team{}", tenant)),
              "");
    auto& [_, ids] = named_[tenant].emplace_back(name, std::vector<JobId>{});
    for (JobId id = before + 1; id <= state().last_job; ++id)
      ids.push_back(id), named_after_[id] = jobs;
  }

  void do_something() {
    switch (pick(8)) {
      case 0:
      case 1:
        return submit_any();
      case 2:
        return start();
      case 3:
        if (pick(3) == 0 && state().last_job > 0) decide(Cancel{1 + pick(state().last_job)});
        return;
      case 4:
        return reread();
      default:
        if (state().running.empty()) return;
        constexpr int kCodes[] = {0, 0, 0, 0, 0, 0, 1, 75};
        end(*std::next(state().running.begin(), pick(static_cast<int>(state().running.size()))),
            kCodes[pick(8)]);
    }
  }

  /// The plain walk.
  void check() {
    const Dependencies& known = state().dependencies;
    std::map<JobId, std::vector<JobId>> waiting_for;
    std::map<Dependencies::Owner, int64_t> pairs;
    int64_t all = 0;
    for (const auto& [id, job] : state().jobs) {
      std::vector<JobId> open;
      bool never = false;
      for (const JobId other : named_after_.at(id)) {
        const JobState there = state().jobs.at(other).state;
        if (is_finished(job.state) || there == JobState::kCompleted) continue;
        open.push_back(other);
        waiting_for[other].push_back(id);
        never = never || is_finished(there);
      }
      all += open.size(), pairs[{job.request.tenant, job.request.user}] += open.size();
      ASSERT_EQ(known.after(id), open) << id;
      ASSERT_EQ(job.is_dependent, !open.empty()) << id;
      ASSERT_FALSE(job.run && job.is_dependent) << id;
      ASSERT_EQ(job.reason == Reason::kDependencyNeverSatisfied, never) << id;
      ASSERT_EQ(job.reason == Reason::kDependency, !open.empty() && !never) << id;
    }
    ASSERT_EQ(known.pairs(), all);
    for (const auto& [owner, count] : pairs) ASSERT_EQ(known.pairs_of(owner), count);
    for (const auto& [id, job] : state().jobs) {
      ASSERT_EQ(known.waiting_for(id), waiting_for[id]) << id;
      ASSERT_EQ(known.is_waited_for(id), !waiting_for[id].empty()) << id;
    }
  }

  std::mt19937_64 random_;

 private:
  int submits_ = 0;
  std::vector<std::pair<std::string, std::vector<JobId>>> named_[2];  ///< by tenant
  std::map<JobId, std::set<JobId>> named_after_;
};

class RandomDependenciesOf : public RandomDependencies, public testing::WithParamInterface<int> {};

TEST_P(RandomDependenciesOf, AreThoseOfAWalkOverAllJobs) {
  random_.seed(GetParam());
  for (int act = 0; act < 300 && !HasFailure(); ++act) {
    SCOPED_TRACE(testing::Message() << "act " << act);
    do_something();
    check();
  }
  EXPECT_GT(state().last_job, 50);
}

INSTANTIATE_TEST_SUITE_P(Seeds, RandomDependenciesOf, testing::Range(1, 13));

}  // namespace
}  // namespace wattle::scheduler
