// The commands against a daemon of a few lines, over real gRPC and mutual TLS.
#include <fmt/format.h>
#include <gmock/gmock.h>

#include <chrono>
#include <cmath>
#include <cstdlib>
#include <fstream>
#include <nlohmann/json.hpp>
#include <set>
#include <thread>

#include "tests/launch/command/commands_story.h"

namespace wattle {
namespace {

using nlohmann::json;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;

/// In a process of its own: here, the threads of the daemon would help the command's connection on.
TEST_F(Commands, ADaemonThatIsStartedAgainIsFoundWithinTheDeadline) {
  const std::string file = write("run.yaml", "run: {name: tiny}\n");
  const std::string address = daemon_->address();
  const int port = std::stoi(address.substr(address.rfind(':') + 1));
  daemon_ = nullptr;
  std::thread starter([&] {
    std::this_thread::sleep_for(std::chrono::seconds(1));
    daemon_ = std::make_unique<FakeDaemon>(site(), port);
  });
  const std::string command =
      fmt::format("{} submit {} --no-plan --deadline 60 > /dev/null", WATTLE, file);
  EXPECT_EQ(std::system(command.c_str()), 0);
  starter.join();
  EXPECT_EQ(daemon_->submits.size(), 1u);
}

TEST_F(Commands, SubmitsAFileWithItsInputs) {
  const std::string data = write("data.bin", std::string(2500000, 'x') + "end");
  const std::string file = write("run.yaml", "run: {name: tiny}\n");
  const Outcome done = run({"submit", file, "--no-plan", "--set", "train.steps=5", "--input",
                            data + "=data/data.bin", "--array", "0-3"});
  EXPECT_EQ(done.code, 0) << done.err;
  EXPECT_THAT(done.out, HasSubstr("Submitted job 7 \"tiny\": ~120 W, ~3.60 kJ"));
  ASSERT_EQ(daemon_->submits.size(), 1u);
  const v1::SubmitRequest& request = daemon_->submits[0];
  EXPECT_EQ(request.yaml(), "run: {name: tiny}\n");
  EXPECT_THAT(request.overrides(), ElementsAre("train.steps=5"));
  EXPECT_EQ(request.array(), "0-3");
  EXPECT_EQ(request.inputs(0).path(), "data/data.bin");
  EXPECT_EQ(request.inputs(0).size_bytes(), 2500003);
  EXPECT_EQ(request.inputs(0).sha256().size(), 64u);
  EXPECT_TRUE(daemon_->files["data/data.bin"].ends_with("xend"));
}

TEST_F(Commands, TriesAgainWithTheSameRequestId) {
  daemon_->unavailable = 2;
  const std::string file = write("run.yaml", "run: {name: tiny}\n");
  EXPECT_EQ(run({"submit", file, "--no-plan", "--parsable"}).out, "7\n");
  ASSERT_EQ(daemon_->submits.size(), 3u);
  EXPECT_EQ(daemon_->submits[0].request_id(), daemon_->submits[2].request_id());
  EXPECT_GE(daemon_->submits[0].request_id().size(), 32u);
  run({"submit", file, "--no-plan"});
  EXPECT_NE(daemon_->submits[3].request_id(), daemon_->submits[0].request_id());
}

TEST_F(Commands, GivesUpAtTheDeadline) {
  daemon_->unavailable = 1000;
  const Outcome done = run({"show", "7", "--deadline", "1"});
  EXPECT_EQ(done.code, 1);
  EXPECT_THAT(done.err, HasSubstr("does not answer: starting"));
}

TEST_F(Commands, WaitsForTheEnd) {
  add_job(7, v1::JOB_STATE_PENDING);
  const std::string file = write("run.yaml", "run: {name: tiny}\n");
  const Outcome done = run({"submit", file, "--no-plan", "--wait"});
  EXPECT_EQ(done.code, 0);
  EXPECT_THAT(done.err, HasSubstr("job 7 COMPLETED"));
  add_job(7, v1::JOB_STATE_FAILED);
  EXPECT_EQ(run({"submit", file, "--no-plan", "--wait"}).code, 1);
}

TEST_F(Commands, DoesNotWaitForWhatNeverRuns) {
  add_job(7, v1::JOB_STATE_PENDING).set_reason("DependencyNeverSatisfied");
  const std::string file = write("run.yaml", "run: {name: tiny}\n");
  const Outcome done = run({"submit", file, "--no-plan", "--wait"});
  EXPECT_EQ(done.code, 1);
  EXPECT_THAT(done.err, HasSubstr("it never runs"));
}

TEST_F(Commands, ASweepsTableSaysWhenEachJobStartsAndWhy) {
  const std::string file = write("run.yaml", "job: {sweep: {list: [{run.seed: 1}, {}]}}\n");
  const std::string out = run({"submit", file, "--no-plan"}).out;
  EXPECT_THAT(out, testing::ContainsRegex("WATTS +ENERGY +TIME +START"));
  EXPECT_THAT(out, testing::ContainsRegex("7 +tiny +120 W +3.60 kJ +- +now"));
  EXPECT_THAT(out, testing::ContainsRegex("8 +tiny +120 W +3.60 kJ +- +-"));
  EXPECT_THAT(out, HasSubstr("\n  first in the queue\n"));
  EXPECT_THAT(out, HasSubstr("\n  the first one draws what the cap leaves\n"));
}

TEST_F(Commands, RefusesBadSubmitsBeforeTheyAreSent) {
  const std::string file = write("run.yaml", "run: {name: tiny}\n");
  for (const char* input : {"../data", "/etc/passwd", "x=/abs", "x=a/../../b"}) {
    const Outcome done = run({"submit", file, "--no-plan", "--input", input});
    EXPECT_EQ(done.code, 2) << input;
    EXPECT_THAT(done.err, HasSubstr("below the job's directory")) << input;
  }
  EXPECT_THAT(run({"submit", path("none.yaml")}).err, HasSubstr("can't be read"));
  const std::string large = write("large.yaml", std::string((1 << 20) + 1, '#'));
  EXPECT_THAT(run({"submit", large}).err, HasSubstr("more than 1048576 bytes"));
  EXPECT_TRUE(daemon_->submits.empty());
}

TEST_F(Commands, ExitCodesTellUsageFromRefusal) {
  const std::string file = write("run.yaml", "job: {ranks: {min: 999}}\n");
  const Outcome wrong = run({"submit", file, "--no-plan"});
  EXPECT_EQ(wrong.code, 2);
  EXPECT_THAT(wrong.err, HasSubstr("wattle: no node has 999 devices"));
  EXPECT_EQ(run({"show", "99"}).code, 1);
  EXPECT_THAT(run({"show", "99"}).err, HasSubstr("there is no job 99"));
  EXPECT_EQ(run({"show", "nine"}).code, 2);
  EXPECT_EQ(run({"queue", "--bogus"}).code, 2);
  EXPECT_EQ(run({"queue", "--state", "sleeping"}).code, 2);
}

TEST_F(Commands, QueueShowsEveryPage) {
  v1::JobSummary& running = add_job(1, v1::JOB_STATE_RUNNING);
  running.set_ranks(2);
  running.set_limit_watts(60);
  running.set_watts(101.5);
  running.set_joules(12345);
  running.set_units(200);
  running.set_units_done(84);
  running.add_nodes("n1");
  running.add_nodes("n2");
  add_job(2, v1::JOB_STATE_PENDING).set_reason("PowerCap");
  add_job(3, v1::JOB_STATE_PENDING).set_name("two\nlines");
  const std::string out = run({"queue"}).out;
  EXPECT_THAT(out, HasSubstr("JOBID  NAME"));
  EXPECT_THAT(out, testing::ContainsRegex("RUNNING +- +2 +120 W +102 W +12.3 kJ +42% +n1,n2\n"));
  EXPECT_THAT(out, HasSubstr("(PowerCap)\n"));
  EXPECT_THAT(out, HasSubstr("two?lines"));
  const json list = json::parse(run({"queue", "--json"}).out);
  ASSERT_EQ(list.size(), 3u);
  EXPECT_EQ(list[0]["job"], 1);
  EXPECT_EQ(list[0]["state"], "RUNNING");
  EXPECT_EQ(list[1]["reason"], "PowerCap");
}

TEST_F(Commands, FinishedJobsKeepTheFactsOfTheirRun) {
  v1::JobSummary& job = add_job(1, v1::JOB_STATE_FAILED);
  job.set_reason("NonZeroExitCode");
  job.set_ranks(2);
  job.set_start_time(1.8e9);
  job.set_run_end_time(1.8e9 + 90);
  job.set_end_time(1.8e9 + 4000);  // e.g. it was cancelled long after its last run
  job.add_nodes("n1");
  EXPECT_THAT(run({"queue", "-a"}).out,
              testing::ContainsRegex("FAILED +1:30 +2 .*n1 \\(NonZeroExitCode\\)\n"));
  job.set_why("exit code 2: run.yaml:4:33: data.path: no such file: 'a\x1b'");
  EXPECT_THAT(run({"queue", "--all"}).out,
              HasSubstr("n1 (NonZeroExitCode: exit code 2: run.yaml:4:33: data.path: no such file: "
                        "'a?')\n"));
  const std::string out = run({"show", "1"}).out;
  EXPECT_THAT(out, HasSubstr("2 in the last run, "));
  EXPECT_THAT(out, HasSubstr("Started     2027-"));
}

TEST_F(Commands, ExplainMovesNoCursor) {
  daemon_->explanation = "job 1 (a\x1b[2J): waits\n  since then\n";
  EXPECT_EQ(run({"explain", "1"}).out, "job 1 (a?[2J): waits\n  since then\n");
}

TEST_F(Commands, ShowLeavesOutWhatIsUnknown) {
  add_job(4, v1::JOB_STATE_PENDING);
  daemon_->jobs[4].set_yaml("run: {name: gpt}\n");
  const std::string out = run({"show", "4"}).out;
  EXPECT_THAT(out, HasSubstr("State       PENDING\n"));
  EXPECT_THAT(out, Not(HasSubstr("Deadline")));
  EXPECT_EQ(run({"show", "4", "--yaml"}).out, "run: {name: gpt}\n");
  const json shown = json::parse(run({"show", "4", "--json"}).out);
  EXPECT_FALSE(shown.contains("deadline_time"));
  EXPECT_EQ(shown["summary"]["units"], 0.0);
}

TEST_F(Commands, CancelTriesEveryJob) {
  add_job(1, v1::JOB_STATE_RUNNING);
  add_job(3, v1::JOB_STATE_RUNNING);
  const Outcome done = run({"cancel", "1", "2", "3"});
  EXPECT_EQ(done.code, 1);
  EXPECT_THAT(done.err, testing::StartsWith("wattle: there is no job 2\n"));
  EXPECT_THAT(daemon_->cancelled, ElementsAre(1, 3));
}

TEST_F(Commands, FollowedLogsGoOnAfterABrokenStream) {
  daemon_->log = "step 1\nstep 2\nstep 3\nstep 4\n";
  daemon_->log_breaks = 2;
  EXPECT_EQ(run({"logs", "-f", "1"}).out, daemon_->log);
}

TEST_F(Commands, SetsCaps) {
  EXPECT_EQ(run({"cap", "set", "1.5kW"}).code, 0);
  EXPECT_EQ(run({"cap", "set", "900W", "--soft", "--from", "2030-01-01T08:00:00Z", "--until",
                 "2030-01-01T20:00:00Z"})
                .code,
            0);
  ASSERT_EQ(daemon_->caps.size(), 2u);
  EXPECT_EQ(daemon_->caps[0].watts(), 1500);
  EXPECT_FALSE(daemon_->caps[0].has_from_time());
  EXPECT_TRUE(daemon_->caps[1].soft());
  EXPECT_EQ(daemon_->caps[1].until_time() - daemon_->caps[1].from_time(), 12 * 3600);
  for (const char* watts : {"lots", "-5W", "5J", "", "inf"}) {
    EXPECT_EQ(run({"cap", "set", watts}).code, 2) << watts;
  }
  EXPECT_EQ(run({"cap", "set", "9W", "--until", "2020-01-01T08:00:00Z"}).code, 2);
  EXPECT_EQ(daemon_->caps.size(), 2u);
  daemon_->refusal = "a cap of 9 W is below the 120 W of idle devices; the lowest is 120 W";
  const Outcome refused = run({"cap", "set", "9W"});
  EXPECT_EQ(refused.code, 1);
  EXPECT_THAT(refused.err, HasSubstr("the lowest is 120 W"));
}

TEST_F(Commands, SaysWhichCapHoldsAndWhatComes) {
  daemon_->cap.set_hard_watts(2000);
  auto* change = daemon_->cap.add_hard_changes();
  change->set_time(1893484800);
  change->set_watts(900);
  daemon_->cap.add_soft_changes()->set_time(1893484800);
  const std::string changes =
      "From 2030-01-01T08:00:00Z the hard cap is 900 W\n"
      "From 2030-01-01T08:00:00Z the soft cap is none\n";
  EXPECT_EQ(run({"cap", "set", "900W", "--from", "2030-01-01T08:00:00Z"}).out,
            "The hard cap is 2.00 kW now\n" + changes);
  EXPECT_EQ(run({"cap", "set", "none", "--soft"}).out, "The soft cap is none now\n" + changes);
  EXPECT_TRUE(std::isinf(daemon_->caps.back().watts()));
  EXPECT_EQ(run({"cap", "set", "none"}).code, 2);
  EXPECT_THAT(run({"cap", "show"}).out, HasSubstr(changes));
  EXPECT_THAT(run({"cap", "show", "--json"}).out, HasSubstr("hard_changes"));
}

TEST_F(Commands, ShowsTheCap) {
  daemon_->cap.set_hard_watts(2000);
  daemon_->cap.set_limit_watts(1950);
  EXPECT_THAT(run({"cap", "show"}).out, HasSubstr("Hard cap        2.00 kW\n"));
  EXPECT_FALSE(json::parse(run({"cap", "show", "--json"}).out).contains("soft_watts"));
}

TEST_F(Commands, SetsBudgets) {
  EXPECT_EQ(run({"budget", "set", "team-a", "5kWh/day", "--weight", "2"}).code, 0);
  EXPECT_EQ(run({"budget", "set", "team-b", "unlimited"}).code, 0);
  EXPECT_EQ(run({"budget", "set", "team-b", "5kW/day"}).code, 2);
  EXPECT_EQ(run({"budget", "set", "team-b", "5kWh/never"}).code, 2);
  EXPECT_EQ(run({"budget", "set", "team-c", "5kWh/day", "--create"}).code, 0);
  ASSERT_EQ(daemon_->budgets.size(), 3u);
  EXPECT_FALSE(daemon_->budgets[1].create());
  EXPECT_TRUE(daemon_->budgets[2].create());
  EXPECT_EQ(daemon_->budgets[0].joules(), 18e6);
  EXPECT_EQ(daemon_->budgets[0].period_seconds(), 86400);
  EXPECT_EQ(daemon_->budgets[0].weight(), 2);
  EXPECT_FALSE(daemon_->budgets[1].has_joules());
  auto* tenant = daemon_->tenants.add_tenants();
  tenant->set_tenant("team-a");
  tenant->set_joules(1e6);
  tenant->set_spent_joules(4e5);
  tenant->set_leased_joules(1e5);
  EXPECT_EQ(run({"budget", "set", "team-a", "1MJ"}).out,
            "The budget of team-a is 1.00 MJ every 0:00; 400 kJ of it are spent, the period ends "
            "1970-01-01T00:00:00Z\n");
  EXPECT_THAT(run({"budget", "show"}).out,
              testing::ContainsRegex("team-a +1.00 MJ +400 kJ +100 kJ +500 kJ"));
}

TEST_F(Commands, DrainsNodes) {
  EXPECT_EQ(run({"drain", "n1", "n2"}).code, 0);
  EXPECT_EQ(run({"undrain", "n1"}).code, 0);
  ASSERT_EQ(daemon_->drains.size(), 3u);
  EXPECT_FALSE(daemon_->drains[1].off());
  EXPECT_TRUE(daemon_->drains[2].off());
  auto* node = daemon_->nodes.add_nodes();
  node->set_name("n1");
  node->set_state(v1::NODE_STATE_UP);
  node->set_drained(true);
  auto* group = node->add_devices();
  group->set_type("cpu-16");
  group->set_count(2);
  EXPECT_THAT(run({"nodes"}).out, testing::ContainsRegex("n1 +UP\\+DRAIN +0/2"));
  node->set_drain_reason("3 runs could not be started");
  EXPECT_THAT(run({"nodes"}).out, HasSubstr("3 runs could not be started\n"));
}

TEST_F(Commands, ReportsMeasuredAndEstimatedApart) {
  for (const auto& [tenant, measured, estimated] :
       {std::tuple("team-a", 3.6e6, 0.0), std::tuple("team-b", 0.0, 7.2e6)}) {
    auto* row = daemon_->report.add_rows();
    row->set_key(tenant);
    row->set_measured_joules(measured);
    row->set_estimated_joules(estimated);
    row->set_tokens(36e6);
    row->set_jobs(2);
  }
  const std::string out = run({"report", "--by", "tenant"}).out;
  EXPECT_THAT(out, testing::ContainsRegex("team-a +2 +3.60 MJ +- +1.000000 +36000000 +10.00\n"));
  EXPECT_THAT(out, testing::ContainsRegex("team-b +2 +- +7.20 MJ +2.000000 +36000000 +5.00\n"));
  EXPECT_THAT(out, testing::ContainsRegex("total +4 +3.60 MJ +7.20 MJ +3.000000"));
  EXPECT_EQ(run({"report", "--by", "hour"}).code, 2);
  EXPECT_EQ(run({"report", "--from", "yesterday"}).code, 2);
  EXPECT_EQ(run({"report", "--from", "-x"}).code, 2);
  EXPECT_EQ(run({"report", "--from", "-7d", "--until=-1d"}).code, 0);
  const v1::ReportRequest& request = daemon_->reports.back();
  EXPECT_NEAR(request.until_time() - request.from_time(), 6 * 86400, 1);
}

TEST_F(Commands, SaysWhenItsCertificateIsOfAnotherSite) {
  make_site(path("other"));
  const Outcome done = run({"queue", "--ca", path("other/ca.crt"), "--cert",
                            path("other/user-ada.crt"), "--key", path("other/user-ada.key")});
  EXPECT_EQ(done.code, 1);
  EXPECT_THAT(done.err, HasSubstr("of its site"));
}

TEST_F(Commands, ConfigurationNamesItsLine) {
  write("client.yaml", "server: x:1\ntsl: {}\n");
  const Outcome done = run({"queue"});
  EXPECT_EQ(done.code, 2);
  EXPECT_THAT(done.err, HasSubstr("client.yaml:2:1: tsl"));
  EXPECT_THAT(done.err, HasSubstr("tls"));
}

TEST_F(Commands, InsecureOnlyOnLoopback) {
  const Outcome done = run({"queue", "--insecure-loopback", "--server", "10.0.0.1:7443"});
  EXPECT_EQ(done.code, 2);
  EXPECT_THAT(done.err, HasSubstr("not on this machine"));
}

}  // namespace
}  // namespace wattle
