#pragma once

#include <optional>
#include <vector>

namespace wattle::scheduler {

/// Devices by type and watts.
struct Amount {
  std::vector<int> devices;
  double watts = 0;
};

/// Devices of one type and watts that come free at a moment.
struct Release {
  double seconds = 0;
  int type = 0;
  int count = 0;
  double watts = 0;
};

/// What is free over time: what is free now, and what running jobs give back when they end.
class Timeline {
 public:
  Timeline(double now_seconds, Amount free, std::vector<Release> releases);

  /// The earliest moment at which `count` devices of a type and `watts` are free, and what is then
  /// left besides them; nothing if that never comes.
  struct Slot {
    double start_seconds = 0;
    Amount spare;
  };
  std::optional<Slot> earliest(int type, int count, double watts) const;
  /// The same behind others that have so many device-seconds of the type first: once as many were
  /// free, as far as the watts that one device needs were free as well.
  std::optional<double> earliest_behind(double device_seconds, int type, int count,
                                        double watts) const;

  const Amount& free() const { return free_; }  ///< at once

  /// Its fields, for the journal.
  template <class Self, class V>
  static void visit(Self& s, V&& v) {
    v("now_seconds", s.now_seconds_), v("free", s.free_), v("releases", s.releases_);
  }

 private:
  double now_seconds_;
  Amount free_;
  std::vector<Release> releases_;  ///< by time
};

}  // namespace wattle::scheduler
