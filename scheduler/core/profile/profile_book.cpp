#include "scheduler/core/profile/profile_book.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <iterator>
#include <utility>

namespace wattle::scheduler {
namespace {

constexpr double kUnseenScaling = 0.9;
/// Old intervals fade: at most this many count, so that a job's change of pace is seen.
constexpr double kMostIntervals = 50;

/// Plans give any whole watts: limits that differ by no more than this share of the highest are
/// one.
constexpr double kSameLimit = 0.02;

void add_interval(LimitSample& s, double limit_watts, double units_per_second, double watts) {
  if (s.weight >= kMostIntervals) {
    s.square_deviation *= (kMostIntervals - 1) / s.weight;
    s.weight = kMostIntervals - 1;
  }
  s.weight += 1;
  s.limit_watts += (limit_watts - s.limit_watts) / s.weight;
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

/// The sample nearest to a limit, at most so far from it, of those that are sorted by it; a new one
/// where there is none.
LimitSample& sample_at(std::vector<LimitSample>& samples, double limit_watts, double most_watts) {
  const auto next =
      std::lower_bound(samples.begin(), samples.end(), limit_watts,
                       [](const LimitSample& s, double limit) { return s.limit_watts < limit; });
  const double above = next == samples.end() ? most_watts + 1 : next->limit_watts - limit_watts;
  const double below =
      next == samples.begin() ? most_watts + 1 : limit_watts - std::prev(next)->limit_watts;
  if (std::min(above, below) > most_watts) return *samples.insert(next, LimitSample{limit_watts});
  return below < above ? *std::prev(next) : *next;
}

constexpr const char* kOwnPage = "job:";

/// Whether all that a page with measurements knows comes from others.
bool is_unmeasured(const Job& job) {
  return ProfileBook::is_shared(job.profile) && job.units_done <= 0;
}

/// What others of its kind have measured, for a job that has not.
Performance for_similar(Performance p) {
  if (p.basis == Basis::kPrior) return p;
  p.uncertainty += kSimilarUncertainty;
  p.basis = Basis::kSimilar;
  return p;
}

std::string own_page(const Job& job) { return fmt::format("{}{}", kOwnPage, job.id); }

}  // namespace

std::string uncertainty_text(const Performance& performance) {
  const bool is_similar = performance.basis == Basis::kSimilar;
  return fmt::format("± {:.0f} %{}", 100 * performance.uncertainty,
                     is_similar ? ", from jobs of its kind" : "");
}

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
  const double same_watts = kSameLimit * types[point.type].max_limit_watts;
  add_interval(sample_at(series.samples, point.limit_watts, same_watts), point.limit_watts,
               units_per_second / point.ranks, watts / point.ranks);
  fit(types, point.type, series);
  page.cached = {};
}

void ProfileBook::fit(const Types& types, int type, Series& series) {
  series.fit = fit_curve(types[type], series.samples);
}

void ProfileBook::refit(const Types& types) {
  for (auto& [name, page] : pages_) {
    for (auto& [key, series] : page.series) {
      fit(types, key.first, series);
    }
    page.cached = {};
  }
}

void ProfileBook::renumber_types(const std::vector<int>& number_now) {
  for (auto& [name, page] : pages_) {
    const auto before = std::exchange(page.series, {});
    for (const auto& [key, series] : before) {
      Series& now = page.series[{number_now[key.first], key.second}];
      for (const LimitSample& sample : series.samples) {
        join(sample_at(now.samples, sample.limit_watts, 0.5), sample);
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
    return scaled(performance_at(found->second.fit, found->second.samples, point.limit_watts), 1);
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
    Performance p = performance_at(nearest->fit, nearest->samples, point.limit_watts);
    p.uncertainty += 0.1;
    p.basis = Basis::kFitted;
    return scaled(p, scaling);
  }
  const double hint =
      is_plausible_rate(page.units_per_second_hint) ? page.units_per_second_hint : 1;
  return scaled(performance_at(prior_curve(types[point.type]), {}, point.limit_watts),
                hint * scaling);
}

Performance ProfileBook::expected(const Types& types, const Page& page, const Job& job,
                                  const OperatingPoint& point) {
  const Performance known = predict(types, page, point);
  return is_unmeasured(job) ? for_similar(known) : known;
}

/// What was made for other types, or other figures of theirs, is made anew.
void ProfileBook::notice(const Types& types, Page& page) {
  if (newest_types_ != types) newest_types_ = types, ++types_version_;
  if (page.types_version == types_version_) return;
  page.types_version = types_version_;
  page.cached = {};
}

std::shared_ptr<const Options> ProfileBook::options(const Types& types, const Job& job) {
  Page& page = page_of(job);
  notice(types, page);
  std::shared_ptr<const Options>& cached = page.cached[is_unmeasured(job)][job.rank_counts];
  if (cached) return cached;
  Options options;
  for (int type = 0; type < static_cast<int>(types.size()); ++type) {
    if (!types[type].is_installed) continue;
    for (int ranks : job.rank_counts) {
      for (double limit : limit_levels(types[type])) {
        const OperatingPoint point{type, ranks, limit};
        options.push_back({point, expected(types, page, job, point)});
      }
    }
  }
  return cached = std::make_shared<const Options>(std::move(options));
}

Performance ProfileBook::at(const Types& types, const Job& job, const OperatingPoint& point) const {
  if (const auto page = pages_.find(job.profile); page != pages_.end()) {
    return expected(types, page->second, job, point);
  }
  Page page;
  page.units_per_second_hint = job.request.work.units_per_second;
  return expected(types, page, job, point);
}

}  // namespace wattle::scheduler
