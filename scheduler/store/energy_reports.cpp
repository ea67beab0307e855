#include "scheduler/store/energy_reports.h"

#include <fmt/format.h>

#include <map>

namespace wattle::scheduler {
namespace {

const char* column_of(EnergyQuestion::By by) {
  return by == EnergyQuestion::By::kTenant ? "tenant"
         : by == EnergyQuestion::By::kJob  ? "job"
                                           : "day";
}

}  // namespace

void EnergyReports::read(const EnergyQuestion& question,
                         const std::function<void(const EnergySum&)>& take) {
  const char* key = column_of(question.by);
  const std::string rows = fmt::format("FROM energy WHERE {}day >= ?1 AND (?2 = '' OR day <= ?2)",
                                       question.tenant ? "tenant = ?3 AND " : "");
  const auto bind = [&](Statement& statement) {
    statement.bind(1, question.from_day).bind(2, question.until_day);
    if (question.tenant) statement.bind(3, *question.tenant);
  };
  const std::lock_guard lock(mutex_);
  const Transaction transaction(database_, Transaction::For::kReading);
  std::map<std::string, int64_t> jobs;
  if (question.by != EnergyQuestion::By::kJob) {
    Statement count(database_,
                    fmt::format("SELECT {}, COUNT(DISTINCT job) {} GROUP BY 1", key, rows));
    bind(count);
    while (count.step()) jobs[count.text(0)] = count.integer(1);
  }
  Statement sums(database_,
                 fmt::format("SELECT {}, source, SUM(joules), SUM(tokens) {} GROUP BY 1, "
                             "2 ORDER BY 1, 2",
                             key, rows));
  bind(sums);
  while (sums.step()) {
    EnergySum sum{sums.text(0), 1, sums.text(1), sums.number(2), sums.number(3)};
    if (question.by != EnergyQuestion::By::kJob) sum.jobs = jobs.at(sum.key);
    take(sum);
  }
}

}  // namespace wattle::scheduler
