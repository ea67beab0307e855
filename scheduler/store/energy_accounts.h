#pragma once

#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "scheduler/store/database.h"

namespace wattle::scheduler {

/// The label of what runs on lost nodes may have used since their last report.
inline constexpr const char* kLostNodeSource = "estimated:lost-node";

/// Joules of one node's share of a run since the run began, by where they come from. Those of
/// kLostNodeSource are what is estimated now beyond all other sources.
struct EnergyTotal {
  int64_t token = 0;
  int64_t job = 0;
  std::string tenant;
  std::string node;
  std::string source;
  double joules = 0;
  double tokens = 0;  ///< with one of the sources of the run's first node; 0 with the others
  std::string day;    ///< in UTC, "2026-11-24"
  double share_joules = std::numeric_limits<double>::infinity();  ///< of all sources of the report
};

/// Joules of a whole node since its agent began, with and without runs.
struct NodeEnergyTotal {
  std::string node;
  std::string source;
  double joules = 0;
  double agent_began = 0;  ///< tells one agent of the node from the next
};

/// Joules of a tenant's jobs, or of one of them, from one source.
struct EnergyRow {
  std::string tenant;
  std::string source;
  double joules = 0;
  double tokens = 0;
};

/// The accounts of joules in the store's database: by tenant, day, job and source, never shortened.
///
/// Totals of a share may come again and again, late or after a crash: what is new in them is
/// charged, of all sources together no more than the report says in all. What was estimated for a
/// lost node is the one figure that may become less: a report takes its place, on the day of the
/// estimate as far as that goes.
///
/// One thread at a time, like the database. add() belongs in a transaction. Throws Error(kIo) as
/// Database does.
class EnergyAccounts {
 public:
  explicit EnergyAccounts(Database& database) : database_(database) {}

  void add(const EnergyTotal& total);
  void add(const NodeEnergyTotal& total);

  /// What was reported of all jobs there ever were: one row a tenant and source, without tokens.
  /// None of them ever becomes less.
  std::vector<EnergyRow> reported();
  /// What is estimated beside that: one row a tenant.
  std::vector<EnergyRow> estimated();
  /// One row a source.
  std::vector<EnergyRow> of_job(int64_t job);
  /// Of all agents that a node ever had: one row a node and source.
  std::vector<NodeEnergyTotal> of_nodes();

 private:
  struct Estimate {
    double joules = 0;
    std::string day;
  };
  struct Growth {
    double joules = 0;
    double tokens = 0;
  };
  Growth take_total(const EnergyTotal& total);
  void book(const EnergyTotal& total, const std::string& day, const Growth& growth);
  Estimate estimate_of(const EnergyTotal& share);
  void set_estimate(const EnergyTotal& share, const Estimate& estimate);

  Database& database_;
};

}  // namespace wattle::scheduler
