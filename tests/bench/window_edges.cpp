// What metering costs: the edge of a window, a reading of the joules so far, and the sampling
// thread's share of one processor, with this machine's own meters.
//
//   window_edges [model|auto|rapl|nvml]

#include <fmt/format.h>

#include <string>

#include "common/error.h"
#include "energy/accounting/energy_monitor.h"
#include "energy/meters/cpu_time.h"

namespace wattle {
namespace {

constexpr int kWindows = 100000;
constexpr double kIdleSeconds = 3;

void measure(MeterKind kind) {
  SteadyClock clock;
  EnergyOptions options;
  options.meter = kind;
  EnergyMonitor monitor(options, clock);
  const double began = clock.now_seconds();
  for (int i = 0; i < kWindows; ++i) {
    const auto window = monitor.window(Phase::kForward);
  }
  const double edges = clock.now_seconds() - began;
  for (int i = 0; i < kWindows; ++i) monitor.joules_now();
  const double readings = clock.now_seconds() - began - edges;
  const double before = process_cpu_seconds();
  clock.sleep_for(kIdleSeconds);
  const double thread = process_cpu_seconds() - before;
  fmt::print(
      "{}: edge of a window {:.2f} us, joules_now {:.2f} us, thread {:.3f} % of a processor\n",
      monitor.source_label(), 1e6 * edges / (2 * kWindows), 1e6 * readings / kWindows,
      100 * thread / kIdleSeconds);
}

}  // namespace
}  // namespace wattle

int main(int argc, char** argv) {
  using wattle::MeterKind;
  const std::string name = argc > 1 ? argv[1] : "auto";
  try {
    wattle::measure(name == "model"  ? MeterKind::kModel
                    : name == "rapl" ? MeterKind::kRapl
                    : name == "nvml" ? MeterKind::kNvml
                                     : MeterKind::kAuto);
  } catch (const wattle::Error& e) {
    fmt::print(stderr, "window_edges: {}\n", e.what());
    return wattle::kExitFailed;
  }
  return wattle::kExitDone;
}
