#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "scheduler/config/tls_files.h"

namespace wattle::scheduler {

struct ClusterPolicyOptions {
  enum class Name { kFifo, kBackfill, kEnergy };
  Name name = Name::kEnergy;
  double eta = 0.5;
  double reserve_after_seconds = 600;
  void describe(Fields& f);
};

/// How much of the history of decisions is kept (docs/SCHEDULER.md).
struct ClusterJournalOptions {
  double keep_days = 7;
  int64_t snapshot_events = 50000;
  void describe(Fields& f);
};

/// The highest `job.priority` that each role may give; an operator's has no bound but the file's.
struct ClusterPriorityOptions {
  int64_t user = 10;
  int64_t tenant_admin = 30;
  void describe(Fields& f);
};

/// Jobs that have not ended, at a time; an operator's have no bound.
struct ClusterJobsOptions {
  int64_t user = 20000;
  int64_t tenant = 50000;
  void describe(Fields& f);
};

/// A tenant as the file has it. `wattle budget set` changes it later; the file's word counts anew
/// when it has changed.
struct ClusterTenantOptions {
  std::string name;
  double weight = 1;
  std::optional<double> budget_kwh;
  std::string period = "30d";
  void describe(Fields& f);
};

/// cluster.yaml: what `wattled` works with. Relative paths start at the working directory.
struct ClusterOptions {
  std::string listen = "127.0.0.1:7443";
  std::string state_dir;
  LinkSecurity security;
  double cap_watts = 0;
  ClusterPolicyOptions policy;
  ClusterPriorityOptions max_priority;
  ClusterJobsOptions max_jobs;
  std::vector<ClusterTenantOptions> tenants;
  std::string metrics_listen = "127.0.0.1:9443";
  bool insecure_metrics = false;
  double lease_seconds = 6;
  double orphan_grace_seconds = 20;
  double heartbeat_seconds = 1;
  double report_seconds = 5;
  int64_t reserve_bytes = 64 << 20;
  double upload_idle_seconds = 30;
  int64_t uploads_per_user = 16;
  int64_t uploads_gigabytes = 100;
  int64_t streams_per_user = 64;
  int64_t log_bytes_per_run = 64 << 20;
  double history_days = 90;
  int64_t history_megabytes = 64;
  std::vector<std::string> shared_paths;
  ClusterJournalOptions journal;
  std::map<std::string, std::string> places;  ///< of the keys that the file gives
  void describe(Fields& f);

  /// A key as an error names it: with its place, where the file gives it.
  std::string named(const std::string& key) const;
};

/// Throws Error(kConfig) with all that is wrong, a line each, each with its place in the file.
ClusterOptions read_cluster_options(const std::string& path,
                                    const std::vector<std::string>& overrides = {});

}  // namespace wattle::scheduler
