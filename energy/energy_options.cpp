#include "energy/energy_options.h"

#include <fmt/format.h>

#include "common/config/config_file.h"

namespace wattle {
namespace {

constexpr double kMostWatts = 1e9;
constexpr double kMostJoules = 1e18;

void check_meter(const EnergyOptions& o, Checker& c) {
  c.require(o.meter != MeterKind::kTrace || !o.trace_path.empty(), "trace_path",
            "is required with meter: trace");
  c.require(o.meter == MeterKind::kTrace || o.trace_path.empty(), "trace_path",
            "is read only with meter: trace");
  c.require(!o.idle_watts || !o.max_watts || *o.idle_watts < *o.max_watts, "max_watts",
            fmt::format("expected more than idle_watts ({} W), got {} W", o.idle_watts.value_or(0),
                        o.max_watts.value_or(0)));
}

void check_limits(const EnergyOptions& o, Checker& c) {
  c.require(!o.power_cap_watts || !o.idle_watts || *o.power_cap_watts > *o.idle_watts,
            "power_cap_watts",
            fmt::format("{} W can't be held: the machine draws idle_watts ({} W) without any work",
                        o.power_cap_watts.value_or(0), o.idle_watts.value_or(0)));
  c.require(o.on_exceeded == OnExceeded::kStop || o.budget_joules, "on_exceeded",
            "throttle needs budget_joules: there is nothing to exceed");
}

void describe_limits(EnergyOptions& o, Fields& f) {
  f("budget_joules", o.budget_joules, "what the whole run may use, over all ranks and attempts")
      .unit("J")
      .greater_than(0)
      .at_most(kMostJoules);
  f("power_cap_watts", o.power_cap_watts, "average power of the run, held over any 10 s")
      .unit("W")
      .greater_than(0)
      .at_most(kMostWatts);
  f.choice("on_exceeded", o.on_exceeded,
           {{"stop", OnExceeded::kStop}, {"throttle", OnExceeded::kThrottle}},
           "at the end of the budget: stop, or lower the power first");
}

void describe_tuning(EnergyOptions& o, Fields& f) {
  f.choice("tune_power_limit", o.tune_power_limit,
           {{"off", TuneObjective::kOff},
            {"cost", TuneObjective::kCost},
            {"energy", TuneObjective::kEnergy}},
           "choose the GPU power limit while training: least cost (eta), or least energy within "
           "max_slowdown");
  f("eta", o.eta, "with cost: weight of energy against time at maximum power")
      .at_least(0)
      .at_most(1);
  f("max_slowdown", o.max_slowdown, "with energy: largest step time relative to the unlimited one")
      .at_least(1)
      .at_most(100);
  f("tune_seconds_per_limit", o.tune_seconds_per_limit, "how long each limit is profiled")
      .unit("s")
      .at_least(0.1)
      .at_most(3600);
  f("tune_stride_watts", o.tune_stride_watts, "distance between the limits that are profiled")
      .unit("W")
      .at_least(1)
      .at_most(1000);
}

}  // namespace

void EnergyOptions::describe(Fields& f) {
  f.choice("meter", meter,
           {{"auto", MeterKind::kAuto},
            {"nvml", MeterKind::kNvml},
            {"rapl", MeterKind::kRapl},
            {"model", MeterKind::kModel},
            {"trace", MeterKind::kTrace}},
           "where joules come from; auto takes GPU counters, then processor counters, then the "
           "model, and says why the others are absent");
  f("trace_path", trace_path,
    "power curve to replay with meter: trace (CSV: seconds,watts[,device])")
      .type = kInputPath;
  f("host", host,
    "name of this host in report.json, another on each: what several ranks of one see counts once")
      .default_is("the system's");
  f("idle_watts", idle_watts, "what the host draws without work, for the model")
      .unit("W")
      .default_is("from a table of processors")
      .at_least(0)
      .at_most(kMostWatts);
  f("max_watts", max_watts, "what the host draws with all cores busy, for the model")
      .unit("W")
      .default_is("from a table of processors")
      .greater_than(0)
      .at_most(kMostWatts);
  f("sample_interval_seconds", sample_interval_seconds,
    "time between two readings of power; counters are read a fifth as often")
      .unit("s")
      .at_least(0.005)
      .at_most(1);
  describe_limits(*this, f);
  describe_tuning(*this, f);
  f.check([this](Checker& c) {
    check_meter(*this, c);
    check_limits(*this, c);
  });
}

}  // namespace wattle
