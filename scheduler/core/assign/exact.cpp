#include <fmt/format.h>
#include <glpk.h>

#include <memory>

#include "common/error.h"
#include "scheduler/core/assign/problem.h"

namespace wattle::scheduler {
namespace {

struct DeleteProblem {
  void operator()(glp_prob* p) const { glp_delete_prob(p); }
};
using Mip = std::unique_ptr<glp_prob, DeleteProblem>;

/// Rows of the program: devices of each type, watts, joules of each limited tenant, one a job.
struct Rows {
  std::vector<int> type;
  int watts = 0;
  std::vector<int> tenant;  ///< 0 = unlimited
  std::vector<int> job;
};

int add_row(glp_prob* mip, double limit) {
  const int row = glp_add_rows(mip, 1);
  glp_set_row_bnds(mip, row, GLP_UP, 0, limit);
  return row;
}

Rows add_rows(glp_prob* mip, const Problem& problem) {
  Rows rows;
  for (int count : problem.devices) rows.type.push_back(add_row(mip, count));
  rows.watts = add_row(mip, problem.watts);
  for (const auto& joules : problem.joules) {
    rows.tenant.push_back(joules ? add_row(mip, *joules) : 0);
  }
  for (size_t j = 0; j < problem.jobs.size(); ++j) rows.job.push_back(add_row(mip, 1));
  return rows;
}

void add_column(glp_prob* mip, const Rows& rows, const Bidder& bidder, size_t job,
                const Item& item) {
  const int column = glp_add_cols(mip, 1);
  glp_set_col_kind(mip, column, GLP_BV);
  glp_set_obj_coef(mip, column, item.value);
  std::vector<int> index = {0, rows.type[item.type], rows.watts, rows.job[job]};
  std::vector<double> entry = {0, static_cast<double>(item.ranks), item.watts, 1};
  if (rows.tenant[bidder.tenant] != 0) {
    index.push_back(rows.tenant[bidder.tenant]);
    entry.push_back(item.joules);
  }
  glp_set_mat_col(mip, column, static_cast<int>(index.size()) - 1, index.data(), entry.data());
}

struct Watch {
  int most_nodes = 0;
  double bound = 0;
};

void stop_at_limit(glp_tree* tree, void* info) {
  auto& watch = *static_cast<Watch*>(info);
  int nodes = 0;
  glp_ios_tree_size(tree, nullptr, nullptr, &nodes);
  if (nodes <= watch.most_nodes) return;
  if (const int best = glp_ios_best_node(tree); best != 0) {
    watch.bound = glp_ios_node_bound(tree, best);
  }
  glp_ios_terminate(tree);
}

}  // namespace

Assignment solve_exact(const Problem& problem, int most_nodes) {
  Assignment result{std::vector<int>(problem.jobs.size(), kNothing), 0, 0};
  Mip mip(glp_create_prob());
  glp_set_obj_dir(mip.get(), GLP_MAX);
  const Rows rows = add_rows(mip.get(), problem);
  std::vector<std::pair<size_t, int>> columns;
  for (size_t j = 0; j < problem.jobs.size(); ++j) {
    for (size_t i = 0; i < problem.jobs[j].items.size(); ++i) {
      add_column(mip.get(), rows, problem.jobs[j], j, problem.jobs[j].items[i]);
      columns.emplace_back(j, static_cast<int>(i));
    }
  }
  if (columns.empty()) return result;
  glp_iocp options;
  glp_init_iocp(&options);
  options.msg_lev = GLP_MSG_OFF;
  options.presolve = GLP_ON;
  options.mip_gap = 1e-6;
  Watch watch{most_nodes, 0};
  options.cb_func = stop_at_limit;
  options.cb_info = &watch;
  const int error = glp_intopt(mip.get(), &options);
  if (error != 0 && error != GLP_ESTOP && error != GLP_EMIPGAP) {
    throw Error(ErrorCode::kInternal, fmt::format("assignment: GLPK failed with {}", error));
  }
  const int status = glp_mip_status(mip.get());
  for (size_t c = 0; c < columns.size() && (status == GLP_OPT || status == GLP_FEAS); ++c) {
    if (glp_mip_col_val(mip.get(), static_cast<int>(c) + 1) > 0.5) {
      result.items[columns[c].first] = columns[c].second;
    }
  }
  result.value = value_of(problem, result);
  result.bound = error == GLP_ESTOP ? watch.bound : result.value * (1 + 1e-6);
  return result;
}

}  // namespace wattle::scheduler
