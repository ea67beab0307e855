#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "scheduler/core/domain/job.h"
#include "scheduler/core/profile/power_curve.h"

namespace wattle::scheduler {

/// One way to run a job, and what it is expected to do there.
struct Option {
  OperatingPoint point;
  Performance performance;
};

/// All operating points of a job, by type, then ranks, then limit, each ascending.
using Options = std::vector<Option>;

using Types = std::vector<DeviceType>;

/// How far jobs of one kind differ: added to the uncertainty of what only others have measured.
inline constexpr double kSimilarUncertainty = 0.1;

/// The uncertainty for people: "± 13 %, from jobs of its kind".
std::string uncertainty_text(const Performance& performance);

/// What is known of every kind of job at every operating point. Jobs of one kind share what was
/// measured; a job without a kind has its own page. Measured online, predicted until then: from
/// jobs of its kind for one that has done nothing yet (Basis::kSimilar), at other limits by the
/// curve, at other rank counts by the scaling seen (T ∝ ranks^α, α = 0.9 unseen), on other device
/// types by their prior. All members take the cluster's device types, which points name by their
/// index.
class ProfileBook {
 public:
  /// The page of a job: set as Job::profile when it is taken.
  static std::string page_name(const Job& job);

  /// Progress in one interval at a point. Intervals without progress, or with more than
  /// any job makes, are no measurement.
  void record(const Types& types, const Job& job, const OperatingPoint& point,
              double units_per_second, double watts);

  /// The options of a job on all device types that are installed. Shared between jobs of a kind
  /// that have been measured themselves, and between those that have not, and valid until the next
  /// measurement of that kind or another figure of a type; the pointer stays alive as long as it is
  /// held.
  std::shared_ptr<const Options> options(const Types& types, const Job& job);

  /// What a job is expected to do at a point, be it among its options or not.
  Performance at(const Types& types, const Job& job, const OperatingPoint& point) const;

  /// Whether other jobs may have the same page.
  static bool is_shared(const std::string& page);
  /// Nothing is known of these pages any more. One that a plan may yet ask for must stay: plans are
  /// no events, and whatever they make anew a replay would not.
  void forget(const std::set<std::string>& pages);

  /// Its fields, for the journal; the fits follow from the samples and the types' idle watts:
  /// refit() after either is set.
  template <class Self, class V>
  static void visit(Self& s, V&& v) {
    v("pages", s.pages_);
  }
  void refit(const Types& types);

  /// Types are numbered otherwise: `number_now` of each. What was learnt of types that are one now
  /// is joined. Before refit().
  void renumber_types(const std::vector<int>& number_now);

 private:
  struct Series {                      ///< one device type and rank count
    std::vector<LimitSample> samples;  ///< per device, sorted by limit
    PowerCurve fit;
    template <class Self, class V>
    static void visit(Self& s, V&& v) {
      v("samples", s.samples);
    }
  };
  struct Page {
    std::map<std::pair<int, int>, Series> series;  ///< (type, ranks)
    double units_per_second_hint = 0;              ///< one rank at full power
    using Cache = std::map<std::vector<int>, std::shared_ptr<const Options>>;  ///< by rank counts
    std::array<Cache, 2> cached;  ///< [1] = for jobs that were never measured themselves
    int64_t types_version = 0;    ///< for which `cached` was made
    template <class Self, class V>
    static void visit(Self& s, V&& v) {
      v("series", s.series), v("units_per_second_hint", s.units_per_second_hint);
    }
  };

  Page& page_of(const Job& job);
  void notice(const Types& types, Page& page);
  static void fit(const Types& types, int type, Series& series);
  static Performance predict(const Types& types, const Page& page, const OperatingPoint& point);
  static Performance expected(const Types& types, const Page& page, const Job& job,
                              const OperatingPoint& point);

  std::unordered_map<std::string, Page> pages_;
  Types newest_types_;
  int64_t types_version_ = 0;  ///< counts how often they were others
};

}  // namespace wattle::scheduler
