#pragma once

#include <cmath>
#include <memory>
#include <string>
#include <vector>

#include "scheduler/core/policy/policy.h"

namespace wattle::scheduler {

inline const DeviceType kV100{"V100", 25, 100, 250};

/// Builds a snapshot job by job.
struct Scene {
  explicit Scene(int devices, double watts) {
    snapshot.now_seconds = 1000;
    snapshot.watts = watts;
    snapshot.types = {{kV100, devices}};
    snapshot.tenants = {{"team", std::nullopt, 0}};
  }

  /// A job whose speed follows the cube root of the limit up to `saturation`.
  JobView& job(const std::vector<int>& ranks, double units, double saturation = 250) {
    auto options = std::make_shared<Options>();
    for (int n : ranks) {
      for (double limit : {100., 150., 200., 250.}) {
        const double shape = std::cbrt(std::min(1.0, (limit - 30) / (saturation - 30)));
        options->push_back(
            {{0, n, limit},
             {std::pow(n, 0.9) * shape, n * std::min(limit, saturation), 0.02, Basis::kMeasured}});
      }
    }
    JobView& view = snapshot.jobs.emplace_back();
    view.id = static_cast<JobId>(snapshot.jobs.size());
    view.options = options;
    view.units_left = units;
    return view;
  }
  void running(JobView& view, int ranks, double limit) {
    view.current = OperatingPoint{0, ranks, limit};
  }

  std::vector<Choice> choices(const std::string& policy, double eta = 0) const {
    return make_policy({policy, eta})->plan(snapshot).choices;
  }
  /// Units a second of all jobs together.
  double progress(const std::string& policy) const {
    double sum = 0;
    const std::vector<Choice> chosen = choices(policy);
    for (size_t j = 0; j < chosen.size(); ++j) {
      if (!chosen[j].point) continue;
      sum += performance_at(*snapshot.jobs[j].options, *chosen[j].point).units_per_second;
    }
    return sum;
  }
  std::vector<int> ranks(const std::string& policy) const {
    std::vector<int> ranks;
    for (const Choice& choice : choices(policy)) {
      ranks.push_back(choice.point ? choice.point->ranks : 0);
    }
    return ranks;
  }
  std::vector<Reason> reasons(const std::string& policy) const {
    std::vector<Reason> reasons;
    for (const Choice& c : choices(policy)) reasons.push_back(c.reason);
    return reasons;
  }

  Snapshot snapshot;
};

}  // namespace wattle::scheduler
