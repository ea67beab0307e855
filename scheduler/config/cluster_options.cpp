#include "scheduler/config/cluster_options.h"

#include <fmt/format.h>

#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <set>

#include "common/config/config_file.h"
#include "common/quantity.h"

namespace wattle::scheduler {

void ClusterPolicyOptions::describe(Fields& f) {
  f.choice("name", name,
           {{"fifo", Name::kFifo}, {"backfill", Name::kBackfill}, {"energy", Name::kEnergy}},
           "how jobs are placed (docs/SCHEDULER.md)");
  f("eta", eta, "energy: 0 counts throughput alone, 1 work per joule").at_least(0).at_most(1);
  f("reserve_after_seconds", reserve_after_seconds,
    "energy: a job that waits this long, and that what is free at once does not hold, has what "
    "comes free reserved")
      .unit("s")
      .at_least(0)
      .at_most(1e9);
}

void ClusterJournalOptions::describe(Fields& f) {
  f("keep_days", keep_days, "older events and decisions are dropped; audit and joules never")
      .unit("d")
      .at_least(0)
      .at_most(36500);
  f("snapshot_events", snapshot_events, "the state is kept after so many events")
      .at_least(100)
      .at_most(1000000000);
}

void ClusterPriorityOptions::describe(Fields& f) {
  f("user", user, "of a user's jobs; 10 more make a job's progress worth twice as much")
      .at_least(-1000)
      .at_most(1000);
  f("tenant_admin", tenant_admin, "of a tenant-admin's jobs; an operator may give any")
      .at_least(-1000)
      .at_most(1000);
  f.check([this](Checker& c) {
    c.require(user <= tenant_admin, "tenant_admin",
              fmt::format("expected at least a user's ({}), got {}", user, tenant_admin));
  });
}

void ClusterJobsOptions::describe(Fields& f) {
  f("user", user, "of one user").at_least(1).at_most(1000000000);
  f("tenant", tenant, "of all users of a tenant").at_least(1).at_most(1000000000);
}

void ClusterTenantOptions::describe(Fields& f) {
  f("name", name, "as in its users' certificates").required();
  f("weight", weight, "worth of its jobs' progress").greater_than(0).at_most(1e6);
  f("budget_kwh", budget_kwh, "energy in each period").unit("kWh").at_least(0).at_most(1e12);
  f("period", period, "length of a budget's period: as 30d, 12 hours, week or month (of 30 days)");
  f.check([this](Checker& c) {
    c.require(!name.empty(), "name", "is empty");
    c.require(
        duration_seconds(period).value_or(0) > 0, "period",
        fmt::format("expected a duration above 0, as 30d, 12 hours, week or month, got \"{}\"",
                    period));
  });
}

void ClusterOptions::describe(Fields& f) {
  f("listen", listen, "HOST:PORT of the service for users and agents");
  f("state_dir", state_dir, "the daemon's folder: journal, files, logs").required();
  describe_security(f, security, "listen", listen);
  f("cap_watts", cap_watts,
    "the cluster's cap; `wattle cap set` goes over it until this one is changed")
      .required()
      .unit("W")
      .greater_than(0)
      .at_most(1e12);
  f("policy", policy, "who runs where");
  f("max_priority", max_priority, "the highest job.priority that a role may give");
  f("max_jobs", max_jobs,
    "jobs that have not ended; more are refused until others have; an operator's have no bound");
  f("tenants", tenants, "who may pay for joules; others count with weight 1, without a budget");
  f("metrics_listen", metrics_listen, "HOST:PORT of /metrics for Prometheus; empty for none");
  f("insecure_metrics", insecure_metrics,
    "metrics_listen may be another address than loopback: whoever reaches it sees the names of "
    "tenants and nodes, without TLS");
  f("lease_seconds", lease_seconds, "an agent that is cut off falls to its safe limits after this")
      .unit("s")
      .at_least(1)
      .at_most(3600);
  f("orphan_grace_seconds", orphan_grace_seconds, "and after this much more it has ended its runs")
      .unit("s")
      .at_least(1)
      .at_most(86400);
  f("heartbeat_seconds", heartbeat_seconds, "time between two heartbeats of an agent")
      .unit("s")
      .at_least(0.05)
      .at_most(600);
  // Joules are leased for 60 s, and anew when half of them is seen to be used.
  f("report_seconds", report_seconds, "time between two measurements of a run")
      .unit("s")
      .at_least(0.05)
      .at_most(15);
  f("reserve_bytes", reserve_bytes,
    "with less free space in state_dir no changes are taken from users")
      .unit("B")
      .at_least(0);
  f("upload_idle_seconds", upload_idle_seconds,
    "a file on its way in of which nothing comes for so long is given up")
      .unit("s")
      .at_least(0.1)
      .at_most(3600);
  f("uploads_per_user", uploads_per_user, "files that one user may send at the same time")
      .at_least(1)
      .at_most(10000);
  f("uploads_gigabytes", uploads_gigabytes,
    "files of one tenant that no job names yet; more are refused, and what no job names within a "
    "day is removed")
      .unit("GB")
      .at_least(1)
      .at_most(1000000000);
  f("streams_per_user", streams_per_user,
    "answers that go on and on (logs --follow, queue --watch, submit --wait) that one user may "
    "have "
    "at the same time")
      .at_least(1)
      .at_most(10000);
  f("log_bytes_per_run", log_bytes_per_run, "what is kept of what a run prints, from its beginning")
      .unit("B")
      .at_least(1000);
  f("history_days", history_days,
    "jobs that ended so long ago are forgotten, with their logs and the inputs that no other job "
    "has used since; audit and joules never")
      .unit("d")
      .greater_than(0)
      .at_most(36500);
  f("history_megabytes", history_megabytes,
    "and where more than this is kept of ended jobs, the oldest of the tenant that has most of it "
    "are forgotten before")
      .unit("MB")
      .at_least(1)
      .at_most(1000000);
  f("shared_paths", shared_paths,
    "folders outside of a job's own that jobs' files may name, by absolute paths");
  f("journal", journal, "how much of the events and decisions is kept");
  f.check([this](Checker& c) {
    c.require(!state_dir.empty(), "state_dir", "is empty");
    c.require(heartbeat_seconds * 2 <= lease_seconds, "heartbeat_seconds",
              fmt::format("expected at most half of lease_seconds ({}), got {}", lease_seconds,
                          heartbeat_seconds));
    if (!metrics_listen.empty()) {
      const std::string fault = fault_of_address(metrics_listen);
      c.require(fault.empty(), "metrics_listen", fault);
      c.require(!fault.empty() || insecure_metrics || is_loopback(metrics_listen), "metrics_listen",
                fmt::format("{} is no loopback address, and /metrics has neither TLS nor roles: "
                            "insecure_metrics: true allows it on the operator's own network",
                            metrics_listen));
    }
    for (size_t i = 0; i < shared_paths.size(); ++i) {
      c.require(std::filesystem::path(shared_paths[i]).is_absolute(),
                fmt::format("shared_paths.{}", i), "expected an absolute path");
    }
    std::set<std::string> names;
    for (size_t i = 0; i < tenants.size(); ++i) {
      c.require(names.insert(tenants[i].name).second, fmt::format("tenants.{}.name", i),
                fmt::format("{} is given twice", tenants[i].name));
    }
  });
}

std::string ClusterOptions::named(const std::string& key) const {
  const auto place = places.find(key);
  return place == places.end() ? key : fmt::format("{}: {}", place->second, key);
}

ClusterOptions read_cluster_options(const std::string& path,
                                    const std::vector<std::string>& overrides) {
  ClusterOptions options;
  Fields fields = fields_of(options);
  Diagnostics diagnostics;
  GivenKeys given = read_config(path, fields, {overrides, {}}, diagnostics);
  diagnostics.throw_if_errors();
  options.places = std::move(given.places);
  return options;
}

}  // namespace wattle::scheduler
