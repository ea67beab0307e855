#include <algorithm>
#include <map>
#include <numeric>
#include <random>

#include "scheduler/core/engine/state.h"
#include "scheduler/daemon/journal/rounds.h"
#include "scheduler/daemon/services/agent_stream.h"
#include "scheduler/daemon/services/calls/caller.h"
#include "tests/scheduler/daemon/daemon_story.h"

namespace wattle::scheduler {
namespace {

using JoulesOf = std::map<std::string, double>;  ///< by what they are of

constexpr double kForGood = 60;  ///< no lease and no grace is longer
constexpr double kDay = 86400;

double sum_of(const JoulesOf& joules) {
  return std::accumulate(joules.begin(), joules.end(), 0.0,
                         [](double sum, const auto& each) { return sum + each.second; });
}

/// Agents without a network, whose words go where those of real streams go, and nodes that are lost
/// and come back: what the core's ledger says and what the accounts in the database say is one.
class LostJoules : public DaemonTest {
 protected:
  LostJoules() {
    stop();
    cap_watts_ = 5000;
    options_.history_days = 3650;
    start();
  }
  ~LostJoules() override { nodes_.clear(); }

  struct Node {
    std::unique_ptr<AgentStream> stream;
    std::map<Token, JoulesOf> runs;  ///< what its agent knows of them
  };

  template <class Message>
  static void tell(const JoulesOf& joules, Message& message) {
    for (const auto& [source, used] : joules) {
      v1::SourceJoules& part = *message.add_energy();
      part.set_source(source), part.set_joules(used);
    }
    message.set_joules(sum_of(joules));
  }

  // What happens.

  void pass(double seconds) {
    now_ = now_ + seconds;
    daemon_->core().tick();
  }

  void lose(const std::string& node) { nodes_[node].stream.reset(); }

  /// An agent registers, with what it holds.
  void join(const std::string& name) {
    v1::Registration registration;
    registration.set_node(name), registration.set_instance_id(name);
    registration.set_work_dir_id(name), registration.set_boot_id("boot");
    registration.set_shares_jobs_dir(true);
    v1::DeviceGroup& group = *registration.add_devices();
    group.set_type("cpu"), group.set_count(2), group.set_idle_watts(5);
    group.set_min_limit_watts(10), group.set_max_limit_watts(50), group.set_safe_watts(10);
    for (const auto& [token, joules] : nodes_[name].runs) {
      v1::HeldRun& held = *registration.add_runs();
      held.set_token(token), held.set_limit_watts(10);
      tell(joules, held);
    }
    nodes_[name].stream =
        std::make_unique<AgentStream>(*daemon_, registration, std::make_shared<Outbox>());
  }

  int64_t submit_job(const std::string& tenant, int ranks) {
    Submit job;
    job.request_id = job.name = fmt::format("job {}", ++requests_);
    job.spec.tenant = tenant;
    job.spec.ranks = {ranks, ranks};
    job.work.units = 1e9, job.work.units_per_second = 1;
    for (const Decision& decision : daemon_->core().apply(job)) {
      if (const auto* accepted = std::get_if<Accepted>(&decision)) return accepted->job;
    }
    return 0;
  }

  /// Starts what can be started: the nodes that are there hold it then.
  void plan() {
    run_round(daemon_->core());
    daemon_->core().settle();
    daemon_->core().read([this](const Core& core) {
      for (const JobId id : core.state().running) {
        const scheduler::Run& run = *core.state().jobs.at(id).run;
        for (const NodeShare& share : run.shares) {
          Node& node = nodes_.at(core.state().nodes[static_cast<size_t>(share.node)].name);
          if (node.stream && !share.gone && run.token > newest_token_) node.runs[run.token];
        }
      }
      newest_token_ = core.state().last_token;
    });
  }

  void report(const std::string& node, Token token, const JoulesOf& joules) {
    v1::AgentMessage message;
    v1::Measured& measured = *message.mutable_measured();
    measured.set_token(token), measured.set_watts(20), measured.set_limit_watts(50);
    tell(joules, measured);
    nodes_.at(node).stream->take(message);
  }

  void end(const std::string& node, Token token, int exit_code) {
    v1::AgentMessage message;
    v1::RunExited& exited = *message.mutable_run_exited();
    exited.set_token(token), exited.set_exit_code(exit_code);
    tell(nodes_.at(node).runs.at(token), exited);
    nodes_.at(node).stream->take(message);
    nodes_.at(node).runs.erase(token);
  }

  /// A job of one rank on node-1, of which 205 J are reported.
  Token start_one() {
    join("node-1");
    submit_job("team-a", 1);
    for (int tries = 0; tries < 200 && nodes_["node-1"].runs.empty(); ++tries) pass(0.1), plan();
    EXPECT_EQ(nodes_["node-1"].runs.size(), 1u);
    const Token token = nodes_["node-1"].runs.begin()->first;
    report("node-1", token, nodes_["node-1"].runs[token] = {{"measured:rapl", 205}});
    return token;
  }

  // What is known then.

  /// What `wattle report --by ...` says.
  JoulesOf report_by(EnergyQuestion::By by) {
    JoulesOf sums;
    daemon_->reports().read({.by = by}, [&](const EnergySum& sum) { sums[sum.key] += sum.joules; });
    return sums;
  }

  /// What `wattle queue` and budgets go by.
  JoulesOf ledger_by(EnergyQuestion::By by) {
    JoulesOf sums;
    daemon_->core().read([&](const Core& core) {
      for (const auto& [id, job] : core.state().jobs) {
        const double joules = core.state().joules.job_spent(id);
        if (joules == 0) continue;
        sums[by == EnergyQuestion::By::kJob ? std::to_string(id) : job.request.tenant] += joules;
      }
    });
    return sums;
  }

  JoulesOf shown(int64_t job) {
    JoulesOf parts;
    const v1::JobDetail detail = show(job);
    for (const auto& part : detail.energy()) parts[part.source()] = part.joules();
    return parts;
  }

  static void expect_equal(const JoulesOf& a, const JoulesOf& b) {
    for (const auto& [key, joules] : a) {
      const auto other = b.find(key);
      EXPECT_NEAR(other == b.end() ? 0 : other->second, joules, 1e-6 * (1 + joules)) << key;
      EXPECT_GE(joules, 0) << key;
    }
  }

  void expect_one_figure() {
    using enum EnergyQuestion::By;
    daemon_->core().catch_up();
    for (const auto by : {kJob, kTenant}) {
      expect_equal(ledger_by(by), report_by(by));
      expect_equal(report_by(by), ledger_by(by));
    }
    EXPECT_NEAR(sum_of(report_by(kDay)), sum_of(report_by(kJob)), 1e-3);
    daemon_->core().read([&](const Core& core) {  // of tenants whose first period goes on
      const JoulesOf spent = report_by(kTenant);
      for (const char* tenant : {"team-a", "team-b"}) {
        const auto found = spent.find(tenant);
        EXPECT_NEAR(core.state().joules.tenant_spent(tenant),
                    found == spent.end() ? 0 : found->second, 1e-3);
      }
    });
  }

  std::map<std::string, Node> nodes_;
  int64_t newest_token_ = 0;
  int requests_ = 0;
};

TEST_F(LostJoules, OfANodeThatStaysAwayAreEstimatedEverywhere) {
  start_one();
  lose("node-1");
  pass(kForGood);
  daemon_->core().catch_up();
  const JoulesOf parts = shown(1);
  EXPECT_EQ(parts.at("measured:rapl"), 205);
  const double estimate = parts.at(kLostNodeSource);
  EXPECT_GT(estimate, 20 * 20) << "20 W until its runs have surely ended";
  EXPECT_EQ(show(1).summary().joules(), 205 + estimate);
  expect_one_figure();
  await_metric("wattle_tenant_energy_joules_total{tenant=\"team-a\"} 205");
  await_metric(
      fmt::format("wattle_tenant_lost_node_energy_joules{{tenant=\"team-a\"}} {}", estimate));
  stop();
  forget_the_end();
  start();  // decides the same again, and books nothing twice
  EXPECT_EQ(shown(1), parts);
  expect_one_figure();
}

TEST_F(LostJoules, AreSettledByWhatTheNodeReportsWhenItComesBack) {
  const Token token = start_one();
  lose("node-1");
  pass(kForGood);
  daemon_->core().apply(scheduler::Cancel{1});  // no other run of it begins
  pass(kDay);
  for (const double used : {300.0, 310.0, 3000.0}) {
    nodes_["node-1"].runs[token] = {{"measured:rapl", used}};
    join("node-1");
    daemon_->core().catch_up();
    EXPECT_EQ(shown(1), (JoulesOf{{"measured:rapl", used}}));
    expect_one_figure();
    lose("node-1");
  }
  await_metric("wattle_tenant_energy_joules_total{tenant=\"team-a\"} 3000");
  await_metric("wattle_tenant_lost_node_energy_joules{tenant=\"team-a\"} 0");
  EXPECT_NEAR(report_by(EnergyQuestion::By::kDay).begin()->second, 300, 1e-6)
      << "the day of the estimate has what was used of it";
}

TEST_F(LostJoules, OfARunThatIsToEndCountUntilItHas) {
  const Token token = start_one();
  lose("node-1");
  pass(kForGood);
  join("node-1");  // is told to end it
  report("node-1", token, {{"measured:rapl", 250}});
  expect_one_figure();
  nodes_["node-1"].runs[token] = {{"measured:rapl", 290}};
  end("node-1", token, 137);
  expect_one_figure();
  EXPECT_EQ(shown(1), (JoulesOf{{"measured:rapl", 290}}));
}

TEST_F(LostJoules, OfAStreamThatWasReplacedCountForNothing) {
  const Token token = start_one();
  const auto replaced = std::move(nodes_["node-1"].stream);
  join("node-1");
  v1::AgentMessage late;
  late.mutable_measured()->set_token(token);
  tell({{"measured:rapl", 999}}, *late.mutable_measured());
  replaced->take(late);
  expect_one_figure();
  EXPECT_EQ(shown(1), (JoulesOf{{"measured:rapl", 205}}));
}

/// An agent that says less than it has said has lost some of its notes.
TEST_F(LostJoules, RandomReportsLossesAndReturnsAreOneFigureEverywhere) {
  std::mt19937_64 random(11);
  const auto pick = [&](size_t below) { return static_cast<size_t>(random() % below); };
  const auto grow = [&](JoulesOf& joules) {
    for (const char* source : {"measured:rapl", "estimated:model"}) {
      joules[source] += static_cast<double>(pick(40));
    }
  };
  const std::string names[] = {"node-1", "node-2", "node-3"};
  for (const std::string& name : names) join(name);
  daemon_->core().apply(BudgetSet{"team-a", 1e5, 3e9, 1});
  daemon_->core().apply(BudgetSet{"team-c", 3000, 100, 1});
  double counted = 0;
  int with_estimates = 0;
  for (int step = 0; step < 600; ++step) {
    const std::string& name = names[pick(3)];
    Node& node = nodes_[name];
    const size_t what = pick(16);
    if (what == 0) {
      submit_job(std::string("team-") + "abc"[pick(3)], 1 + static_cast<int>(pick(4)));
      plan();
    } else if (what == 1 && node.stream) {
      lose(name);
      if (pick(2) == 0) pass(kForGood);
    } else if (what < 5 && !node.stream) {
      for (auto& [token, joules] : node.runs) grow(joules);
      if (pick(4) == 0) node.runs.clear();
      try {
        join(name);
      } catch (const Refusal&) {  // there is no room for it yet
      }
    } else if (what == 5 && !node.stream) {
      daemon_->core().apply(NodeRemoved{name, /*force=*/true});
    } else if (what == 6) {
      pass(pick(5) == 0 ? kDay / 3 : static_cast<double>(pick(20)));
    } else if (what == 7 && pick(6) == 0) {
      for (auto& [each, lost] : nodes_) lost.stream.reset();
      stop();
      if (pick(2) == 0) forget_the_end();
      start();
    } else if (node.stream && !node.runs.empty()) {
      const auto run = std::next(node.runs.begin(), static_cast<int>(pick(node.runs.size())));
      if (what == 8) {
        end(name, run->first, std::array{0, 1, 75}[pick(3)]);
      } else {
        JoulesOf joules = run->second;
        if (pick(6) == 0)
          joules["measured:rapl"] /= 2;
        else
          grow(run->second), joules = run->second;
        report(name, run->first, joules);
      }
    } else {
      plan();
    }
    expect_one_figure();
    const double now_counted = daemon_->core().read_store([&](Store& store) {
      with_estimates += !store.accounts().estimated().empty();
      double sum = 0;
      for (const EnergyRow& row : store.accounts().reported()) sum += row.joules;
      return sum;
    });
    EXPECT_GE(now_counted, counted) << "a counter does not fall";
    counted = now_counted;
    if (HasFailure()) FAIL() << "at step " << step << " (" << what << ")";
  }
  EXPECT_GT(counted, 1000);
  EXPECT_GT(with_estimates, 50);
}

}  // namespace
}  // namespace wattle::scheduler
