#pragma once

#include "scheduler/core/policy/policy.h"

namespace wattle::scheduler {

/// Strict order: the first job that does not fit holds all behind it.
class FifoPolicy : public Policy {
 public:
  const char* name() const override { return "fifo"; }
  Plan plan(const Snapshot& snapshot) const override;
  bool is_strict() const override { return true; }
};

/// EASY backfilling (Lifka 1995): the first job that does not fit gets a reservation at the
/// earliest moment at which the running jobs' expected ends leave it its devices and watts; a job
/// behind it starts if it is expected to end before that moment or takes only what the reservation
/// leaves. A job whose end is unknown is taken to run forever: where the first one has no known
/// moment, what comes free is kept for it all the same.
class BackfillPolicy : public Policy {
 public:
  const char* name() const override { return "backfill"; }
  Plan plan(const Snapshot& snapshot) const override;
};

/// The most weighted progress within capacity, watts and joules (docs/SCHEDULER.md): each job is
/// assigned at most one operating point so that the sum of their values is largest; solved exactly
/// where the problem is small, and by a relaxation with repair where it is large. A wide job that
/// has waited long gets what comes free reserved (docs/SCHEDULER.md).
class EnergyPolicy : public Policy {
 public:
  explicit EnergyPolicy(const PolicyOptions& options) : options_(options) {}
  const char* name() const override { return "energy"; }
  Plan plan(const Snapshot& snapshot) const override;

 private:
  PolicyOptions options_;
};

}  // namespace wattle::scheduler
