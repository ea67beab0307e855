#include "scheduler/core/profile/profile_book.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <utility>

namespace wattle::scheduler {
namespace {

constexpr double kUnseenScaling = 0.9;
/// Old intervals fade: at most this many count, so that a job's change of pace is seen.
constexpr double kMostIntervals = 50;

void add_interval(LimitSample& s, double units_per_second, double watts) {
  if (s.weight >= kMostIntervals) {
    s.square_deviation *= (kMostIntervals - 1) / s.weight;
    s.weight = kMostIntervals - 1;
  }
  s.weight += 1;
  const double deviation = units_per_second - s.units_per_second;
  s.units_per_second += deviation / s.weight;
  s.square_deviation += deviation * (units_per_second - s.units_per_second);
  s.watts += (watts - s.watts) / s.weight;
}

/// Two means of one figure become one (Chan, Golub and LeVeque).
void join(LimitSample& s, const LimitSample& other) {
  const double weight = s.weight + other.weight;
  if (weight <= 0) return;
  const double deviation = other.units_per_second - s.units_per_second;
  const double share = other.weight / weight;
  s.units_per_second += deviation * share;
  s.square_deviation += other.square_deviation + deviation * deviation * s.weight * share;
  s.watts += (other.watts - s.watts) * share;
  s.weight = weight;
}

/// The sample of a limit, of those that are sorted by it; a new one where there is none.
LimitSample& sample_at(std::vector<LimitSample>& samples, double limit_watts) {
  auto at = std::lower_bound(samples.begin(), samples.end(), limit_watts - 0.5,
                             [](const LimitSample& s, double l) { return s.limit_watts < l; });
  if (at == samples.end() || at->limit_watts > limit_watts + 0.5) {
    at = samples.insert(at, LimitSample{limit_watts});
  }
  return *at;
}

constexpr const char* kOwnPage = "job:";

std::string own_page(const Job& job) { return fmt::format("{}{}", kOwnPage, job.id); }

}  // namespace

std::string ProfileBook::page_name(const Job& job) {
  const std::string& kind = job.request.work.kind;
  // The kind was found without the point's overrides: those of other keys may change the work.
  const auto& overrides = job.request.overrides;
  const bool is_alike = std::all_of(overrides.begin(), overrides.end(), [](const auto& text) {
    return text.starts_with("run.") || text.starts_with("optimizer.");
  });
  return kind.empty() || !is_alike ? own_page(job) : fmt::format("kind:{}", kind);
}

bool ProfileBook::is_shared(const std::string& page) { return !page.starts_with(kOwnPage); }

void ProfileBook::forget(const std::set<std::string>& pages) {
  for (const std::string& page : pages) pages_.erase(page);
}

ProfileBook::Page& ProfileBook::page_of(const Job& job) {
  Page& page = pages_[job.profile];
  if (page.units_per_second_hint == 0) {
    page.units_per_second_hint = job.request.work.units_per_second;
  }
  return page;
}

void ProfileBook::record(const Types& types, const Job& job, const OperatingPoint& point,
                         double units_per_second, double watts) {
  if (!is_plausible_rate(units_per_second) || !(watts > 0) || !std::isfinite(watts)) return;
  Page& page = page_of(job);
  Series& series = page.series[{point.type, point.ranks}];
  add_interval(sample_at(series.samples, point.limit_watts), units_per_second / point.ranks,
               watts / point.ranks);
  fit(types, point.type, series);
  page.cached.clear();
}

void ProfileBook::fit(const Types& types, int type, Series& series) {
  series.fit = fit_curve(types[type], series.samples);
  series.fitted_idle_watts = types[type].idle_watts;
}

/// As it is for the type's present idle draw, noticed or not.
PowerCurve ProfileBook::fit_of(const Types& types, int type, const Series& series) {
  const bool is_present = series.fitted_idle_watts == types[type].idle_watts;
  return is_present ? series.fit : fit_curve(types[type], series.samples);
}

void ProfileBook::refit(const Types& types) {
  for (auto& [name, page] : pages_) {
    for (auto& [key, series] : page.series) {
      fit(types, key.first, series);
    }
    page.cached.clear();
  }
}

void ProfileBook::renumber_types(const std::vector<int>& number_now) {
  for (auto& [name, page] : pages_) {
    const auto before = std::exchange(page.series, {});
    for (const auto& [key, series] : before) {
      Series& now = page.series[{number_now[key.first], key.second}];
      for (const LimitSample& sample : series.samples) {
        join(sample_at(now.samples, sample.limit_watts), sample);
      }
    }
  }
}

Performance ProfileBook::predict(const Types& types, const Page& page,
                                 const OperatingPoint& point) {
  auto scaled = [&](Performance p, double per_device) {
    p.units_per_second *= per_device * point.ranks;
    p.watts *= point.ranks;
    return p;
  };
  if (auto found = page.series.find({point.type, point.ranks}); found != page.series.end()) {
    return scaled(performance_at(fit_of(types, point.type, found->second), found->second.samples,
                                 point.limit_watts),
                  1);
  }
  // The nearest rank count seen on the same type, scaled; else the prior of the type.
  const Series* nearest = nullptr;
  double ranks = 1;
  for (const auto& [key, series] : page.series) {
    if (key.first != point.type) continue;
    if (nearest && std::abs(key.second - point.ranks) >= std::abs(ranks - point.ranks)) continue;
    nearest = &series;
    ranks = key.second;
  }
  const double scaling = std::pow(point.ranks / ranks, kUnseenScaling - 1);
  if (nearest) {
    Performance p =
        performance_at(fit_of(types, point.type, *nearest), nearest->samples, point.limit_watts);
    p.uncertainty += 0.1;
    p.basis = Basis::kFitted;
    return scaled(p, scaling);
  }
  const double hint =
      is_plausible_rate(page.units_per_second_hint) ? page.units_per_second_hint : 1;
  return scaled(performance_at(prior_curve(types[point.type]), {}, point.limit_watts),
                hint * scaling);
}

/// What was made for other types, or other figures of theirs, is made anew.
void ProfileBook::notice(const Types& types, Page& page) {
  if (newest_types_ != types) newest_types_ = types, ++types_version_;
  if (page.types_version == types_version_) return;
  page.types_version = types_version_;
  page.cached.clear();
  for (auto& [key, series] : page.series) {
    if (series.fitted_idle_watts != types[key.first].idle_watts) fit(types, key.first, series);
  }
}

std::shared_ptr<const Options> ProfileBook::options(const Types& types, const Job& job) {
  Page& page = page_of(job);
  notice(types, page);
  std::shared_ptr<const Options>& cached = page.cached[job.rank_counts];
  if (cached) return cached;
  Options options;
  for (int type = 0; type < static_cast<int>(types.size()); ++type) {
    if (!types[type].is_installed) continue;
    for (int ranks : job.rank_counts) {
      for (double limit : limit_levels(types[type])) {
        const OperatingPoint point{type, ranks, limit};
        options.push_back({point, predict(types, page, point)});
      }
    }
  }
  return cached = std::make_shared<const Options>(std::move(options));
}

Performance ProfileBook::at(const Types& types, const Job& job, const OperatingPoint& point) const {
  if (const auto page = pages_.find(job.profile); page != pages_.end()) {
    return predict(types, page->second, point);
  }
  Page page;
  page.units_per_second_hint = job.request.work.units_per_second;
  return predict(types, page, point);
}

}  // namespace wattle::scheduler
