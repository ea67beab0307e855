#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>

#include "scheduler/core/domain/job.h"

namespace wattle::scheduler {

/// Joules spent, and joules leased to runs that may yet spend them, for tenants (per period) and
/// for jobs (over their life). An agent stops its share of a run when its lease is used, even when
/// it is cut off: so an account is never overdrawn by more than the agent needs to notice and
/// checkpoint.
///
/// A share's reports are totals since the run began: a report that comes twice, late or after a
/// crash changes nothing but the difference.
class JouleLedger {
 public:
  /// Joules of a tenant in each period from now on; none = unlimited. A period of 0 leaves it as it
  /// was (30 days where there was none); another one than before ends so long from now. What is
  /// spent in the present period stays spent; an account without a period begins its first one.
  void set_budget(const std::string& tenant, std::optional<double> joules, double period_seconds,
                  double now_seconds);
  void set_job_budget(JobId job, double joules);

  /// Starts the new period of every account whose period is over; says whether there was one.
  bool roll(double now_seconds);
  /// When the next period begins.
  double next_period() const;

  void open(Token token, NodeId node, JobId job, const std::string& tenant);
  /// Grows the share's lease to `total` joules, or as far as its accounts go; gives the new total.
  double lease(Token token, NodeId node, double total);
  /// What lease() would give.
  double offer(Token token, NodeId node, double total) const;
  void report(Token token, NodeId node, double total);
  /// The share is lost with its node and will use no more: charges what it may have used since the
  /// last report, at most its lease, and gives the rest of the lease back. Should the node come
  /// back, its report settles the account: what was too much is given back to the job, and to the
  /// tenant if the period of the estimate is not over.
  void estimate(Token token, NodeId node, double joules);
  /// The share's last report is in: its lease is free again, and nothing more is said of it.
  void close(Token token, NodeId node);
  /// Nothing will be asked of these jobs any more.
  void forget_jobs(const std::set<JobId>& jobs);

  /// Until it is closed, or its job forgotten.
  bool has_share(Token token, NodeId node) const { return find(token, node) != nullptr; }
  /// What is neither spent nor leased; none = unlimited.
  std::optional<double> tenant_left(const std::string& tenant) const;
  std::optional<double> job_left(JobId job) const;
  /// Of a period; none = unlimited.
  std::optional<double> tenant_budget(const std::string& tenant) const;
  double tenant_spent(const std::string& tenant) const;
  double job_spent(JobId job) const;
  double period_end_seconds(const std::string& tenant) const;
  double period_seconds(const std::string& tenant) const;  ///< 0 = none yet
  /// A share's lease, and what it is charged for.
  double leased(Token token, NodeId node) const;
  double reported(Token token, NodeId node) const;
  /// What of that is an estimate, and not reported yet.
  double estimated(Token token, NodeId node) const;
  bool limited(Token token, NodeId node) const;

  /// Its fields, for the journal.
  template <class Self, class V>
  static void visit(Self& s, V&& v) {
    v("tenants", s.tenants_), v("jobs", s.jobs_), v("shares", s.shares_);
  }

 private:
  struct Account {
    std::optional<double> budget;
    double period_seconds = 0;  ///< 0 = no period
    double period_end = 0;
    double spent = 0;
    double leased = 0;   ///< granted and neither reported nor given back
    int64_t period = 0;  ///< the number of the present one
    std::optional<double> left() const;
    template <class Self, class V>
    static void visit(Self& s, V&& v) {
      v("budget", s.budget), v("period_seconds", s.period_seconds);
      v("period_end", s.period_end), v("spent", s.spent), v("leased", s.leased);
      v("period", s.period);
    }
  };
  struct Share {
    JobId job = 0;
    std::string tenant;
    double lease = 0;
    double charged = 0;
    double outstanding = 0;  ///< its part of Account::leased
    bool open = true;
    bool estimated = false;
    double estimate = 0;          ///< of what is charged, not reported yet ...
    int64_t estimate_period = 0;  ///< ... and in which of the tenant's periods it was charged
    template <class Self, class V>
    static void visit(Self& s, V&& v) {
      v("job", s.job), v("tenant", s.tenant), v("lease", s.lease), v("charged", s.charged);
      v("outstanding", s.outstanding), v("open", s.open), v("estimated", s.estimated);
      v("estimate", s.estimate), v("estimate_period", s.estimate_period);
    }
  };

  Share* find(Token token, NodeId node);
  const Share* find(Token token, NodeId node) const;
  void charge(Share& share, double total);
  void set_outstanding(Share& share);

  std::map<std::string, Account> tenants_;
  std::map<JobId, Account> jobs_;
  std::map<std::pair<Token, NodeId>, Share> shares_;
};

}  // namespace wattle::scheduler
