#include "scheduler/store/energy_accounts.h"

#include <algorithm>

namespace wattle::scheduler {

void EnergyAccounts::add(const EnergyTotal& total) {
  if (total.source == kLostNodeSource) {
    return set_estimate(total, {total.joules, estimate_of(total).day});
  }
  Growth growth = take_total(total);
  Estimate estimate = estimate_of(total);
  if (const double foreseen = std::min(growth.joules, estimate.joules); foreseen > 0) {
    book(total, estimate.day, {foreseen, 0});
    growth.joules -= foreseen;
    estimate.joules -= foreseen;
    set_estimate(total, estimate);
    if (growth.joules <= 0 && growth.tokens <= 0) return;
  }
  book(total, total.day, growth);
}

/// What is new in it.
EnergyAccounts::Growth EnergyAccounts::take_total(const EnergyTotal& total) {
  double joules = 0, tokens = 0, joules_of_share = 0, tokens_of_share = 0;
  {
    Statement known(database_,
                    "SELECT SUM(CASE WHEN source=? THEN joules END), SUM(CASE WHEN source=? THEN "
                    "tokens END), SUM(joules), SUM(tokens) FROM run_energy WHERE token=? AND "
                    "node=?");
    known.bind(1, total.source).bind(2, total.source).bind(3, total.token).bind(4, total.node);
    if (known.step()) {
      joules = known.number(0), tokens = known.number(1);
      joules_of_share = known.number(2), tokens_of_share = known.number(3);
    }
  }
  const double most = std::max(0.0, total.share_joules - joules_of_share);
  // Tokens come with whichever source is the first of a report.
  const Growth growth{std::clamp(total.joules - joules, 0.0, most),
                      std::max(0.0, total.tokens - tokens_of_share)};
  Statement remember(database_, "INSERT OR REPLACE INTO run_energy VALUES(?, ?, ?, ?, ?)");
  remember.bind(1, total.token).bind(2, total.node).bind(3, total.source);
  remember.bind(4, joules + growth.joules).bind(5, tokens + growth.tokens).run();
  return growth;
}

void EnergyAccounts::book(const EnergyTotal& total, const std::string& day, const Growth& growth) {
  Statement add(
      database_,
      "INSERT INTO energy VALUES(?, ?, ?, ?, ?, ?) ON CONFLICT(tenant, day, job, "
      "source) DO UPDATE SET joules = joules + excluded.joules, tokens = tokens + excluded.tokens");
  add.bind(1, total.tenant).bind(2, day).bind(3, total.job).bind(4, total.source);
  add.bind(5, growth.joules).bind(6, growth.tokens).run();
  Statement sum(database_,
                "INSERT INTO energy_total VALUES(?, ?, ?) ON CONFLICT(tenant, source) DO UPDATE "
                "SET joules = joules + excluded.joules");
  sum.bind(1, total.tenant).bind(2, total.source).bind(3, growth.joules).run();
}

EnergyAccounts::Estimate EnergyAccounts::estimate_of(const EnergyTotal& share) {
  Statement read(database_, "SELECT joules, day FROM estimate WHERE token = ? AND node = ?");
  read.bind(1, share.token).bind(2, share.node);
  return read.step() ? Estimate{read.number(0), read.text(1)} : Estimate{0, share.day};
}

/// The account is the sum of what is estimated of the job's shares: no rounding stays in it when
/// they are settled.
void EnergyAccounts::set_estimate(const EnergyTotal& share, const Estimate& estimate) {
  if (estimate.joules > 0) {
    Statement set(database_, "INSERT OR REPLACE INTO estimate VALUES(?, ?, ?, ?, ?, ?)");
    set.bind(1, share.token).bind(2, share.node).bind(3, share.job).bind(4, share.tenant);
    set.bind(5, estimate.day).bind(6, estimate.joules).run();
  } else {
    Statement settle(database_, "DELETE FROM estimate WHERE token = ? AND node = ?");
    settle.bind(1, share.token).bind(2, share.node).run();
  }
  Statement drop(database_,
                 "DELETE FROM energy WHERE tenant = ? AND day = ? AND job = ? AND source = ?");
  drop.bind(1, share.tenant).bind(2, estimate.day).bind(3, share.job).bind(4, kLostNodeSource);
  drop.run();
  Statement sum(database_,
                "INSERT INTO energy SELECT tenant, day, job, ?, SUM(joules), 0 FROM estimate WHERE "
                "job = ? AND day = ? GROUP BY tenant");
  sum.bind(1, kLostNodeSource).bind(2, share.job).bind(3, estimate.day).run();
}

/// Of the same agent what is new counts, of another one all that it has seen.
void EnergyAccounts::add(const NodeEnergyTotal& total) {
  Statement add(database_,
                "INSERT INTO node_energy VALUES(?1, ?2, ?3, ?4, ?3) ON CONFLICT(node, source) DO "
                "UPDATE SET joules = joules + max(0, excluded.agent_joules - iif(agent_began = "
                "excluded.agent_began, agent_joules, 0)), agent_joules = excluded.agent_joules, "
                "agent_began = excluded.agent_began");
  add.bind(1, total.node).bind(2, total.source).bind(3, total.joules);
  add.bind(4, total.agent_began).run();
}

std::vector<EnergyRow> EnergyAccounts::reported() {
  Statement read(database_, "SELECT tenant, source, joules FROM energy_total");
  std::vector<EnergyRow> rows;
  while (read.step()) rows.push_back({read.text(0), read.text(1), read.number(2), 0});
  return rows;
}

std::vector<EnergyRow> EnergyAccounts::estimated() {
  Statement read(database_, "SELECT tenant, SUM(joules) FROM estimate GROUP BY tenant");
  std::vector<EnergyRow> rows;
  while (read.step()) rows.push_back({read.text(0), kLostNodeSource, read.number(1), 0});
  return rows;
}

std::vector<EnergyRow> EnergyAccounts::of_job(int64_t job) {
  Statement read(database_,
                 "SELECT source, tenant, SUM(joules), SUM(tokens) FROM energy WHERE job = ? GROUP "
                 "BY source ORDER BY source");
  read.bind(1, job);
  std::vector<EnergyRow> rows;
  while (read.step()) {
    rows.push_back({read.text(1), read.text(0), read.number(2), read.number(3)});
  }
  return rows;
}

std::vector<NodeEnergyTotal> EnergyAccounts::of_nodes() {
  Statement read(database_,
                 "SELECT node, source, joules, agent_began FROM node_energy ORDER BY node, source");
  std::vector<NodeEnergyTotal> totals;
  while (read.step()) {
    totals.push_back({read.text(0), read.text(1), read.number(2), read.number(3)});
  }
  return totals;
}

}  // namespace wattle::scheduler
