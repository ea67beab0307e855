#include "launch/wattle/client/sweep_plans.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <atomic>
#include <optional>
#include <set>
#include <thread>
#include <vector>

#include "common/config/config_file.h"
#include "common/error.h"
#include "common/job_spec.h"
#include "launch/wattle/client/sent_inputs.h"
#include "launch/wattle/client/trainer_plan.h"

namespace wattle {
namespace {

using Overrides = std::vector<std::string>;

/// Each starts a process that takes a processor and some hundred megabytes.
constexpr unsigned kPlansAtOnce = 4;

/// What of the file matters here.
struct JobSection {
  JobSpec job;
  void describe(Fields& f) { f("job", job, ""); }
};

/// The overrides of each point of the sweep; none without one.
std::vector<Overrides> points_of(const v1::SubmitRequest& request, const std::string& file) {
  JobSection section;
  Fields fields = fields_of(section);
  ReadOptions options;
  options.shared_sections = {""};
  for (const std::string& text : request.overrides()) {
    if (text.starts_with("job.") || text.starts_with("job=")) options.overrides.push_back(text);
  }
  Diagnostics diagnostics;
  read_config_text(request.yaml(), file, fields, options, diagnostics);
  diagnostics.throw_if_errors();
  if (section.job.sweep.empty()) return {};
  return expand_sweep(section.job.sweep);
}

/// A point's plan, or why there is none.
struct Planned {
  TrainerPlan plan;
  std::optional<Error> error;
};

Planned plan_point(const std::string& file, const std::vector<std::string>& sent,
                   Overrides overrides, const Overrides& point) {
  overrides.insert(overrides.end(), point.begin(), point.end());
  Planned planned;
  try {
    planned.plan = plan_work(file, overrides);
    require_sent(planned.plan.inputs, sent);
  } catch (const Error& e) {
    planned.error =
        Error(e.code(), fmt::format("job.sweep: {}: {}", fmt::join(point, " "), e.what()));
  }
  return planned;
}

std::vector<Planned> plan_points(const std::string& file, const std::vector<std::string>& sent,
                                 const Overrides& overrides, const std::vector<Overrides>& points) {
  std::vector<Planned> planned(points.size());
  std::atomic<size_t> next = 0;
  const auto work = [&] {
    for (size_t i = next++; i < points.size(); i = next++) {
      planned[i] = plan_point(file, sent, overrides, points[i]);
    }
  };
  const unsigned processors = std::max(1u, std::thread::hardware_concurrency());
  std::vector<std::jthread> threads;
  for (unsigned i = 0; i < std::min(kPlansAtOnce, processors); ++i) threads.emplace_back(work);
  threads.clear();  // joins
  return planned;
}

}  // namespace

void plan_request(const std::string& file, const std::vector<std::string>& sent,
                  v1::SubmitRequest& request) {
  const Overrides overrides(request.overrides().begin(), request.overrides().end());
  const TrainerPlan whole = plan_work(file, overrides);
  *request.mutable_work() = whole.work;
  std::set<std::string> warnings(whole.warnings.begin(), whole.warnings.end());
  const std::vector<Overrides> points = points_of(request, file);
  const bool is_for_points = !points.empty() && points.size() <= kMostPlannedPoints;
  if (!is_for_points) require_sent(whole.inputs, sent);
  if (points.size() > kMostPlannedPoints) {
    warnings.insert(
        fmt::format("job.sweep: of its {} points none is planned apart, at most {} are: "
                    "each is expected to be as the file",
                    points.size(), kMostPlannedPoints));
  } else {
    for (const Planned& planned : plan_points(file, sent, overrides, points)) {
      if (planned.error) throw Error(*planned.error);
      *request.add_point_work() = planned.plan.work;
      warnings.insert(planned.plan.warnings.begin(), planned.plan.warnings.end());
    }
  }
  for (const std::string& warning : warnings) fmt::print(stderr, "warning: {}\n", warning);
}

}  // namespace wattle
