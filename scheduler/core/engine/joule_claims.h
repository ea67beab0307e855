#pragma once

#include <functional>
#include <map>
#include <string>
#include <unordered_map>
#include <vector>

#include "scheduler/core/engine/state.h"

namespace wattle::scheduler {

/// Until the job is done as it performs; nothing if that is unknown.
std::optional<double> seconds_left(const Job& job, const Performance& p);
/// The same where the performance is more than a guess for the device type.
std::optional<double> rest_seconds(const Job& job, const Performance& p);
/// The same at a point.
std::optional<double> rest_seconds(const State& state, const Job& job, const OperatingPoint& point);
/// What a run's shares may use of their leases yet.
double unused_lease(const State& state, const Run& run);

/// The joules that are kept for the runs of tenants with a budget: what each is expected to use yet
/// until it is done, its own budget spent or its tenant's period over, beyond its leases. Nothing
/// is kept for a run whose rest is unknown, or that is being stopped for good; one that is moved to
/// other ranks keeps its claim meanwhile.
///
/// Of a tenant's runs those of higher priority go first, and of one priority those that began
/// first. A job that waits goes behind all runs of at least its priority, and before all others.
class JouleClaims {
 public:
  /// Nothing is counted before something is asked. What changes in the state from then on has to be
  /// said.
  JouleClaims(const State& state, double now_seconds) : state_(state), now_seconds_(now_seconds) {}

  /// What is kept for those that go before the job.
  double before(const Job& job);
  /// The job has just been started.
  void start(const Job& job);
  /// The job's leases have grown by so many joules: so many less need to be kept.
  void lease(const Job& job, double joules);
  /// What is kept, by tenant and priority.
  std::map<std::string, std::map<int, double>> totals();

 private:
  struct Claim {
    double since_seconds = 0;
    JobId job = 0;
    double joules = 0;
  };
  struct Level {
    std::vector<Claim> claims;  ///< in their order
    std::vector<double> sums;   ///< of their joules: a Fenwick tree (Fenwick, 1994)
    double joules = 0;          ///< of all of them
  };
  using Levels = std::map<int, Level, std::greater<>>;  ///< by priority
  struct Place {
    Level* level = nullptr;
    size_t index = 0;
  };

  void count();
  void claim(const Job& job, const OperatingPoint& point);
  void order(Level& level);
  /// Behind all others.
  void append(Level& level, const Claim& claim);
  void change(const Place& place, double joules);

  const State& state_;
  double now_seconds_;
  bool is_counted_ = false;
  std::map<std::string, Levels> tenants_;
  std::unordered_map<JobId, Place> places_;
};

}  // namespace wattle::scheduler
