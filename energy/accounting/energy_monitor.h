#pragma once

#include <array>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "energy/accounting/energy_ledger.h"
#include "energy/accounting/integrator.h"
#include "energy/clock.h"
#include "energy/energy_options.h"
#include "energy/meters/find_meters.h"

namespace wattle {

class EnergyMonitor;

/// Where the meters of a monitor fail.
struct MeterGaps {
  double seconds = 0;       ///< without trustworthy readings, summed over devices
  double open_seconds = 0;  ///< how long the worst device has not answered by now; 0: all do
  std::string why;          ///< each device with gaps and why its latest one came; "" if none has
};

/// A window of one phase, from construction to destruction.
class [[nodiscard]] PhaseWindow {
 public:
  PhaseWindow(EnergyMonitor& monitor, Phase phase);
  ~PhaseWindow();
  PhaseWindow(const PhaseWindow&) = delete;
  PhaseWindow& operator=(const PhaseWindow&) = delete;

 private:
  EnergyMonitor& monitor_;
  Phase outer_;
};

/// Meters a process's devices from construction to destruction and books every joule in a ledger.
///
/// A thread reads the meters every sample_interval_seconds (more or less, at random, so as not to
/// beat with the training steps), a fifth as often where all of them count joules by themselves.
/// The joules between two readings go to the phases by their share of the time between them; cheap
/// meters are also read at the edges of the windows. The edge of a window takes about a microsecond
/// and never waits for a device.
///
/// Safe to use from several threads; there is one phase at a time, that of the process. `clock`
/// must outlive the monitor.
class EnergyMonitor {
 public:
  enum class Sampling { kThread, kByHand };

  /// Finds the meters of this machine. Throws Error(kConfig) if one that options.meter names
  /// is not there, Error(kIo) or Error(kFormat) if a trace can't be used.
  EnergyMonitor(const EnergyOptions& options, Clock& clock);

  /// With these meters; `kByHand` samples only when sample() is called.
  EnergyMonitor(FoundMeters found, const EnergyOptions& options, Clock& clock, Sampling sampling);
  ~EnergyMonitor();
  EnergyMonitor(const EnergyMonitor&) = delete;
  EnergyMonitor& operator=(const EnergyMonitor&) = delete;

  /// The phase from now on until the window ends; the innermost window counts, but for evaluation:
  /// all that happens inside one is inference.
  PhaseWindow window(Phase phase) { return PhaseWindow(*this, phase); }

  /// How a phase's joules divide among kinds of layers from now on (shares of time, at most 1).
  void set_layer_shares(Phase phase, std::vector<LayerShare> shares);

  /// Joules since construction, up to now: carried on from the latest reading where reading is not
  /// cheap. Never falls, so the joules of steps that follow each other add up to the whole.
  double joules_now();

  /// Everything about gaps so far.
  MeterGaps gaps();

  /// Reads all meters now. Waits for the devices.
  void sample();

  /// Everything so far, after a sample.
  EnergyLedger ledger();

  /// From now on only these devices count; which of them are this rank's is what
  /// assign_devices() says. Call it before the first window.
  void keep_only(const std::vector<std::string>& devices);
  std::vector<std::string> devices();
  /// The name under which they stand in accounts of several hosts.
  const std::string& host() const { return host_; }

  /// What the devices draw without work, as far as that is known.
  double idle_watts();
  /// What they draw at full load, as far as that is known.
  double busy_watts();

  /// Joules so far of the devices whose id starts with `prefix` ("gpu:").
  double joules_of(std::string_view prefix);

  /// Label for metrics: all sources that are in use.
  std::string source_label();

  /// What was found and why other meters are absent, for the log.
  const std::vector<std::string>& notes() const { return notes_; }

 private:
  friend class PhaseWindow;

  struct Metered {
    std::unique_ptr<Meter> meter;
    Integrator integrator;
  };
  struct Outcome {
    double seconds = 0;
    double reading = 0;
    std::string error;  // "" if there is a reading
  };
  Phase enter(Phase phase);
  void leave(Phase outer);
  void switch_to(Phase phase);
  Outcome read(Meter& meter);
  double book(Metered& metered, const Outcome& outcome);
  void book_cheap();
  void book_costly(const std::vector<Outcome>& outcomes);
  void count_phase_time(double now);
  double joules_at(double seconds) const;
  void start_again();
  void run_thread();

  Clock& clock_;
  double sample_interval_seconds_;
  std::string host_;
  std::vector<std::string> notes_;

  std::mutex
      reading_mutex_;  // costly meters are read under this one alone, then booked under the other
  std::mutex mutex_;   // everything below
  std::vector<Metered> cheap_, costly_;
  EnergyLedger ledger_;
  Phase phase_ = Phase::kOther;
  double phase_since_seconds_ = 0;
  std::array<double, kPhaseCount> seconds_since_costly_{};  // by phase
  double returned_joules_ = 0;

  std::condition_variable wake_;
  bool is_stopping_ = false;
  std::thread thread_;
};

}  // namespace wattle
